// The page in a real browser: a question, its answer, the tree, both themes and languages.
// Usage: node page.mjs URL [FOLDER for screenshots]
import assert from "node:assert";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const [url, folder] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 820 }, locale: "en-GB", colorScheme: "light" });
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (m) => { if (m.type() === "error" && !m.text().includes("401")) problems.push(m.text()); });
page.on("request", (r) => { if (!r.url().startsWith(url)) problems.push(`asks elsewhere: ${r.url()}`); });
const shot = async (name) => { if (folder) { mkdirSync(folder, { recursive: true }); await page.screenshot({ path: `${folder}/${name}.png` }); } };

await page.goto(url);
// With the keyboard alone: the message is focused, Enter sends.
const key = page.locator("#key");
if (process.env.CARD_KEY) { await key.waitFor({ state: "visible" }); await key.fill(process.env.CARD_KEY); await page.waitForTimeout(2500); }
await page.locator("#prompt").focus();
await page.keyboard.type(process.env.QUESTION ?? "Name three rivers.");
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelectorAll(".turn.assistant .token").length > 5, null, { timeout: 120000 });
assert.ok(await page.locator("#tree svg").count(), "the tree is drawn");
assert.ok(await page.locator("#timeline svg .lane-target").count(), "the timeline is drawn");
const figures = await page.locator(".figure b").allTextContents();
assert.ok(Number(figures[0]) > 0 && Number(figures[2]) >= 1, figures.join());
assert.ok((await page.locator(".turn.assistant .token").first().getAttribute("title")).length > 3);
await shot("light-en");
await page.locator("#theme").click();
await page.locator("#language").click();
assert.equal(await page.locator("#send").textContent(), "送信");
assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
await shot("dark-ja");
// Escape stops.
await page.locator("#clear").click();
await page.locator("#prompt").fill("Count from one to one thousand.");
await page.keyboard.press("Enter");
await page.waitForFunction(() => [...document.querySelectorAll(".turn.assistant")].at(-1).textContent.length > 3, null, { timeout: 60000 });
await page.keyboard.press("Escape");
await page.waitForFunction(() => document.querySelector("#send").textContent === "送信", null, { timeout: 10000 });
// No button without a name, no field without a label.
const nameless = await page.evaluate(() => [...document.querySelectorAll("button,input,textarea")].filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || document.querySelector(`label[for=${e.id}]`))).map((e) => e.id));
assert.deepEqual(nameless, []);
await page.setViewportSize({ width: 420, height: 800 });
assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "fits a phone");
await shot("phone");
if (process.env.EXPLAIN) {
  await page.setViewportSize({ width: 1280, height: 1000 });
  await page.goto(`file://${process.env.EXPLAIN}`);
  assert.ok((await page.locator("#text .token").count()) > 3);
  await page.locator("#text .token").nth(2).click();
  assert.ok(await page.locator("#tree svg").count());
  await shot("explain");
}
await browser.close();
assert.deepEqual(problems.filter((p) => !p.startsWith("asks elsewhere: file:")), []);
console.log("page: ok");
