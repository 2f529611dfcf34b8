import assert from "node:assert/strict";
import { test } from "node:test";
import { blockHtml, blocks, codeStart } from "../markdown.js";

const html = (source) => blocks(source).map(blockHtml).join("");

test("the sources of blocks are the text, so each block's place in it is known", () => {
  const text = "# a\n\ntext\n\n```py\nx = 1\n```\n\n- one\n- two\n\n| a |\n|---|\n| b |\n\nend";
  assert.equal(blocks(text).map((block) => block.raw).join(""), text);
  for (let length = 0; length < text.length; length++) {
    // The last one may end otherwise while it is written.
    const before = blocks(text.slice(0, length)).slice(0, -1).map((block) => block.raw).join("");
    assert.equal(text.slice(0, before.length), before);
  }
});

test("code is highlighted where its language is known, and shown as it is elsewhere", () => {
  assert.match(html("```python\ndef f(): pass\n```"), /<pre class="language-python"><code><span class="hljs-keyword">def<\/span>/);
  assert.match(html("```nonsense\na < b\n```"), /<code>a &#60; b\n<\/code>/);
  // A fence that is still open is code already.
  assert.match(html("```rust\nfn main() {"), /<span class="hljs-keyword">fn<\/span>/);
  assert.equal(codeStart(blocks("```python\nx\n```")[0]), 10);
  assert.equal(codeStart(blocks("    x")[0]), 0);
});

test("HTML of a model is text", () => {
  for (const hostile of ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "a <b onclick=x>b</b>", "<svg/onload=alert(1)>",
    "<iframe src=//evil>", "<!-- --><style>*{}</style>", "```\"><script>x\nx\n```", "```x onload=alert(1)\nx\n```"]) {
    const tags = html(hostile).match(/<(?!\/?(?:p|pre|code)\b)[a-z!]/gi);
    assert.equal(tags, null, html(hostile));
    assert.doesNotMatch(html(hostile), /<[^>]*\son\w+=/i);
  }
});

test("only addresses of the web are links, and pictures are not loaded", () => {
  assert.match(html("[a](https://example.org/?a=1&b=2 \"t\\\"t\")"), /<a href="https:\/\/example.org\/\?a=1&#38;b=2" title="t&#34;t">a<\/a>/);
  for (const bad of ["[a](javascript:alert(1))", "[a](data:text/html,x)", "[a](//evil.example)", "[a](vbscript:x)", "[a](/v1/models)"]) {
    assert.doesNotMatch(html(bad), /<a /, bad);
  }
  assert.equal(html("![cat](https://example.org/cat.png)"), '<p><a href="https://example.org/cat.png">cat</a></p>\n');
});
