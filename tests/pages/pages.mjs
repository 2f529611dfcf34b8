// Every page in a real browser: at the width of a desk and of a phone, light and dark.
// Nothing may scroll sideways but what is made to, nothing may be logged as an error, and axe-core
// (rules of WCAG and its own) may find nothing. Screenshots go to FOLDER/shots.
// Usage: node pages.mjs FOLDER of pages (*.html) [URL of a server with the chat page]
import assert from "node:assert";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";

const [folder, server] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = path.join(folder, "shots");
mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const problems = [];

// A page of these settings: what it must bear is checked when `open` has made it ready.
async function look(name, { width, colorScheme, locale = "en-GB" }, open) {
  const view = `${name}, ${width} px, ${colorScheme}`;
  const context = await browser.newContext({ viewport: { width, height: width < 600 ? 844 : 900 }, colorScheme, locale, reducedMotion: "reduce" });
  const page = await context.newPage();
  const problem = (text) => problems.push(`${view}: ${text}`);
  page.on("pageerror", (error) => problem(`error: ${error}`));
  page.on("console", (message) => { if (message.type() === "error") problem(`console: ${message.text()}`); });
  page.on("request", (r) => { const there = r.url(); if (!/^(file|data|blob):/.test(there) && !(server && there.startsWith(server))) problem(`asks elsewhere: ${there}`); });
  await open(page);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (sideways > 0) problem(`the page is ${sideways} px wider than the screen`);
  await page.screenshot({ path: path.join(shots, `${name}-${width}-${colorScheme}.png`), fullPage: true });
  // What is folded away must hold too.
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  const unfolded = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (unfolded > 0) problem(`unfolded, the page is ${unfolded} px wider than the screen`);
  for (const size of await page.evaluate(smallText)) problem(`text of ${size} in a chart`);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, help, nodes } of found.violations) problem(`axe: ${id} (${help}): ${nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
  await context.close();
}

// Texts of charts that the screen shows smaller than 11 pixels.
function smallText() {
  const small = new Set();
  for (const svg of document.querySelectorAll(".chart svg")) {
    const box = svg.getBoundingClientRect();
    if (!box.width) continue;
    const scale = box.width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text")) {
      const pixels = parseFloat(getComputedStyle(text).fontSize) * scale;
      if (pixels < 11) small.add(`${pixels.toFixed(1)} px`);
      const at = text.getBoundingClientRect();
      if (at.left < box.left - 2 || at.right > box.right + 2) small.add(`"${text.textContent}" that is cut`);
    }
  }
  return [...small];
}

async function ask(page) {
  await page.goto(server);
  await page.locator("#prompt").fill("Name three rivers.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !document.body.classList.contains("writing") && document.querySelectorAll(".turn.assistant .token").length > 5, null, { timeout: 60000 });
}

const pages = readdirSync(folder).filter((name) => name.endsWith(".html")).sort();
assert.ok(pages.length, `no pages in ${folder}`);
let views = 0;
for (const width of [1280, 390]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const file of pages) {
      await look(file.replace(".html", ""), { width, colorScheme }, (page) => page.goto(`file://${path.resolve(folder, file)}`));
      views += 1;
    }
    if (!server) continue;
    for (const [name, locale] of [["chat-en", "en-GB"], ["chat-ja", "ja-JP"]]) {
      await look(name, { width, colorScheme, locale }, ask);
      views += 1;
    }
  }
}
await browser.close();
if (problems.length) { console.error([...new Set(problems)].join("\n")); process.exit(1); }
console.log(`pages: ${views} views ok, screenshots in ${shots}`);
