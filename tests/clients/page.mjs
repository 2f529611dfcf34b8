// The page in a real browser: a question, its answer as it comes, who proposed its tokens; edit,
// regenerate, stop; what is kept; hostile text; both themes and languages; a phone.
// Usage: node page.mjs URL [FOLDER for screenshots]
import assert from "node:assert";
import { mkdirSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [url, folder] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 820 }, locale: "en-GB", colorScheme: "light" });
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (m) => { if (m.type() === "error" && !m.text().includes("401")) problems.push(m.text()); });
page.on("request", (r) => { if (!r.url().startsWith(url) && !r.url().startsWith("blob:")) problems.push(`asks elsewhere: ${r.url()}`); });
page.on("dialog", (dialog) => dialog.accept());
const shot = async (name) => { if (folder) { mkdirSync(folder, { recursive: true }); await page.screenshot({ path: `${folder}/${name}.png` }); } };
const until = (what, test, arg) => page.waitForFunction(test, arg, { timeout: 120000 }).catch(() => assert.fail(`never: ${what}`));
const ended = () => until("the end of the answer", () => !document.body.classList.contains("writing") && document.querySelector(".turn.assistant:last-child .again"));
/** Sends a message with the keyboard alone. */
const ask = async (text) => {
  await page.locator("#prompt").focus();
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
};
const answers = () => page.locator(".turn.assistant .answer").allTextContents();

await page.goto(url);
const key = page.locator("#key");
if (process.env.CARD_KEY) {
  await key.waitFor({ state: "visible" });
  await key.fill(process.env.CARD_KEY);
  await page.keyboard.press("Enter");
  await key.waitFor({ state: "hidden" });
}
// A first answer: coloured while it comes, with figures, the tree and the lanes.
await ask(process.env.QUESTION ?? "Name three rivers.");
await until("colours while the answer comes", () => document.querySelector("body.writing .turn.assistant .token") ||
  (!document.body.classList.contains("writing") && document.querySelector(".turn.assistant .token")));
await ended();
await until("a token of every kind of text", () => document.querySelectorAll(".turn.assistant .token").length > 5);
assert.ok(await page.locator("#tree svg .node").count(), "the tree is drawn");
assert.match(await page.locator("#tree svg").getAttribute("aria-label"), /[✓✗→] /);
assert.ok(await page.locator("#timeline svg .lane-target").count(), "the timeline is drawn");
const figures = (await page.locator(".figure b").allTextContents()).map(Number);
assert.ok(figures[0] > 0 && figures[2] >= 1 && figures[1] <= figures[2], figures.join());
assert.ok((await page.locator("#why").textContent()).length > 20, "it says why");
assert.ok((await page.locator(".turn.assistant .token").first().getAttribute("title")).length > 3);
await until("the figures under the answer", () => document.querySelector(".turn.assistant .line").textContent.length > 5);
await shot("light-en");
const [first] = await answers();
// The same text again at temperature 0.
await page.locator(".turn.assistant .again").click();
await ended();
assert.deepEqual(await answers(), [first]);
// Another question in the place of the first.
await page.locator(".turn.user .edit").click();
await page.locator(".turn.user textarea").fill("Say hello.");
await page.keyboard.press("Enter");
await ended();
assert.equal(await page.locator(".turn").count(), 2);
assert.equal(await page.locator(".turn.user .words").textContent(), "Say hello.");
// It is there after a reload, with its colours, and can be exported.
const [second] = await answers();
await page.waitForTimeout(600);
await page.reload();
await until("the conversation after a reload", () => document.querySelector(".turn.assistant .token"));
assert.deepEqual(await answers(), [second]);
const [file] = await Promise.all([page.waitForEvent("download"), page.locator("#export").click()]);
assert.equal(file.suggestedFilename(), "Say-hello.md");
assert.ok(readFileSync(await file.path(), "utf8").includes("## You\n\nSay hello.\n"));
// Settings reach the request; what is out of bounds is refused.
await page.locator("#show-settings").click();
await page.locator("#set-system").fill("Be brief.");
await page.locator("#set-temperature").fill("9");
await page.locator("#settings button[type=submit]").click();
assert.equal(await page.locator("#set-temperature").getAttribute("aria-invalid"), "true");
await page.locator("#set-temperature").fill("0.5");
await page.locator("#set-seed").fill("7");
await page.locator("#settings button[type=submit]").click();
const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), ask("And again.")]);
const body = request.postDataJSON();
assert.deepEqual([body.temperature, body.seed, body.messages[0], body.messages.length], [0.5, 7, { role: "system", content: "Be brief." }, 4]);
await ended();
await page.locator("#theme").click();
await page.locator("#language").click();
assert.equal(await page.locator("#send").textContent(), "送信");
assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
await shot("dark-ja");
// Escape stops.
await page.locator("#new").click();
await ask("Count from one to one thousand.");
await until("the beginning of an answer", () => document.querySelector(".turn.assistant .answer")?.textContent.length > 3);
await page.keyboard.press("Escape");
await ended();
assert.equal(await page.locator("#send").textContent(), "送信");
// A model's text is hostile: nothing of it becomes part of the page.
const hostile = "<img src=x onerror=\"window.hit=1\"> <script>window.hit=1</script>\n\n<svg onload=window.hit=1>\n\n" +
  "[a](javascript:window.hit=1) ![b](https://evil.example/b.png) [c](https://example.org/)\n\n```html\n<script>window.hit=1</script>\n```\n";
await page.route("**/v1/chat/completions", (route) => route.fulfill({
  contentType: "text/event-stream",
  body: `data: ${JSON.stringify({ id: "chatcmpl-x", choices: [{ delta: { content: hostile } }] })}\n\ndata: [DONE]\n\n`,
}));
await page.locator("#new").click();
await ask("Be evil.");
await ended();
await page.waitForTimeout(300);
assert.equal(await page.evaluate(() => window.hit), undefined, "a model's script ran");
assert.equal(await page.locator("#talk :is(img,script,svg,iframe,object,embed,style,link,form)").count(), 0);
assert.deepEqual(await page.locator("#talk a").evaluateAll((all) => all.map((a) => [a.href, a.rel])),
  [["https://evil.example/b.png", "noopener noreferrer"], ["https://example.org/", "noopener noreferrer"]]);
assert.ok(await page.locator(".code .hljs-tag, .code [class^=hljs]").count(), "code is highlighted");
await page.unroute("**/v1/chat/completions");
// Of three conversations one is deleted.
assert.equal(await page.locator("#list li").count(), 3);
await page.locator("#list .remove").first().click();
assert.equal(await page.locator("#list li").count(), 2);
// No button without a name, no field without a label.
const nameless = await page.evaluate(() => [...document.querySelectorAll("button,input,textarea,select")].filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.closest("label") || document.querySelector(`label[for=${e.id}]`))).map((e) => e.id));
assert.deepEqual(nameless, []);
await page.setViewportSize({ width: 390, height: 800 });
for (const column of ["#show-details", "#show-chats"]) {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "fits a phone");
  await page.locator(column).click();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${column} fits a phone`);
  await page.locator(column).click();
}
await page.locator("#show-chats").click();
await page.locator("#list .title").last().click();
await page.waitForTimeout(200);
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
