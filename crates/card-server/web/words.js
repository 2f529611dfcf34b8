// What the page says, in English and Japanese.

const number = (value, digits = 0) => (value ?? 0).toFixed(digits);
const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

const en = {
  name: "English", other: "日本語", otherCode: "ja",
  chats: "Conversations", newChat: "New chat", settings: "Settings", details: "Speculation", exportChat: "Export as Markdown",
  deleteChat: (title) => `Delete “${title}”`, confirmDelete: (title) => `Delete the conversation “${title}”? It is kept nowhere else.`,
  untitled: "New conversation", kept: "Conversations are kept in this browser only.", open: "Open", close: "Close",
  full: "This browser has no room for more: export conversations and delete some. What you see is not kept.",
  talk: "Conversation", prompt: "Your message", hint: "Ask something. Enter sends, Shift+Enter breaks the line, Esc stops.",
  send: "Send", stop: "Stop", you: "You", model: "Model", copy: "Copy", copied: "Copied", copyCode: "Copy code", edit: "Edit", cancel: "Cancel",
  again: "Regenerate", againSame: "Regenerate. With temperature 0 or a fixed seed the answer will be the same.",
  writing: "The answer is being written.", done: "The answer is complete.", stopped: "Stopped.", thinking: "Thinking",
  failed: (why) => `That failed: ${why}`, waiting: "Waiting for the first token…", cut: "The answer reached the most tokens allowed.",
  loading: "The server is loading its model. This page goes on by itself when it is ready.", loadingPart: (file, percent) => `${file}: ${percent} %`, loadingRest: "Preparing",
  loadingFile: { target: "Target model", draft: "Draft model", head: "Head of the target", model: "Model" },
  away: "The server does not answer. This page tries again.",
  key: "API key", keyWanted: "This server wants an API key. It is kept until this tab is closed.", keyUse: "Use",
  system: "System prompt", systemHelp: "What the model is told before the conversation.", temperature: "Temperature", topP: "Top-p", seed: "Seed", maxTokens: "Most tokens", modelChoice: "Model",
  temperatureHelp: "0 to 2; 0 always takes the most probable token. Empty: what the server takes.", topPHelp: "Above 0, to 1. Empty: what the server takes.",
  seedHelp: "The same seed gives the same text. Empty: a new one each time.", maxTokensHelp: "Empty: as many as the context holds.",
  plain: "Decode without speculation, to compare", wrong: (name) => `${name}: this value is not possible.`,
  settingsFor: "For this conversation and for new ones.", save: "Save", theme: { dark: "Dark colours", light: "Light colours" },
  colours: "Colour the tokens", figures: "This answer", tree: "The last forward that had candidates", timeline: "When target and drafters worked", legend: "Who proposed a token",
  rate: "tokens/s", speedup: "times plain decoding (estimate)", perForward: "tokens per forward", forwards: "forwards",
  soFar: "so far", tooFew: "too few forwards to say", noisy: (spread) => `noisy, ± ${number(spread, 2)}`,
  disturbed: "The estimate was above the tokens per forward, so plain decoding was measured on a busy machine. Tokens per forward are the most that speculation can give; they are shown.",
  none: "nothing was proposed here", nothingYet: "This appears while an answer is written.", noRounds: "Nothing is known of this answer’s forwards: they are not kept when the page is closed.",
  noCandidates: "No forward of this answer had candidates so far.",
  target: "target", drafter: "drafters", rows: "rows", before: "Earlier forward", after: "Later forward", follow: "Follow the latest", gone: "proposed",
  exact: { fast: "fast: near-ties may come out otherwise than in plain decoding", "any-shape": "exact: every shape of forward gives the same logits", "one-class": "exact: forwards keep to row counts that give the same logits, one sequence at a time", "near-ties": "exact: near-ties are decided again by a forward of their own" },
  exactBy: (level, kernels) => `${level} (${kernels})`,
  ideas: ["Write a quicksort in Python, with tests.", "Explain how a hash table works, with an example.", "Write a short story about a lighthouse keeper."],
  sources: { draft: "draft model", draft2: "second draft model", prompt_lookup: "text seen before", correction: "earlier corrections", prediction: "expected text", grammar: "forced by the grammar", head: "the target’s own heads", other: "another source", target: "the target itself" },
  line: ({ tokens, rate, perForward }) => `${counted(tokens, "token")} · ${number(rate, 1)} tokens/s · ${number(perForward, 2)} tokens per forward`,
  caption: ({ round, candidates, accepted, rejected, ms }) => `Forward ${round}: ${counted(candidates, "candidate")} verified in ${number(ms, 1)} ms. ${accepted} accepted ✓, ${rejected} rejected ✗, then the target’s own token →.`,
  why: {
    verified: ({ taken, ready, expected, ms, plain }) => `Candidates are verified: the last forward that did took ${taken} of ${ready} and expected ${number(expected, 1)} tokens in ${number(ms)} ms, in which decoding plainly writes ${number(plain, 1)}.`,
    unlikely: ({ ready }) => `Decoding plainly for now: of ${counted(ready, "candidate")} none was likely enough to pay for a longer forward.`,
    gated: () => "Decoding plainly for now: the drafters rest, because here they cost more time than they bring.",
    dear: ({ steps, tokens, cost, worth }) => `Decoding plainly for now: ${counted(steps, "draft step")} would bring ${number(tokens, 2)} tokens and take ${number(cost)} ms, in which ${number(worth, 2)} are written anyway.`,
    nothing: () => "Decoding plainly for now: no source had a candidate here.",
  },
};

/** @type {typeof en} */
const ja = {
  name: "日本語", other: "English", otherCode: "en",
  chats: "会話", newChat: "新しい会話", settings: "設定", details: "生成の詳細", exportChat: "Markdownで書き出す",
  deleteChat: (title) => `「${title}」を削除`, confirmDelete: (title) => `会話「${title}」を削除しますか？ほかの場所には保存されていません。`,
  untitled: "新しい会話", kept: "会話はこのブラウザーにだけ保存されます。", open: "開く", close: "閉じる",
  full: "ブラウザーの保存領域がいっぱいです。会話を書き出してから、いくつか削除してください。いま表示している内容は保存されていません。",
  talk: "会話", prompt: "メッセージ", hint: "質問を入力してください。Enterで送信、Shift+Enterで改行、Escで停止します。",
  send: "送信", stop: "停止", you: "あなた", model: "モデル", copy: "コピー", copied: "コピーしました", copyCode: "コードをコピー", edit: "編集", cancel: "キャンセル",
  again: "再生成", againSame: "再生成（温度が0のとき、またはシードを固定したときは、同じ回答になります）",
  writing: "回答を生成しています。", done: "回答が完了しました。", stopped: "停止しました。", thinking: "思考",
  failed: (why) => `失敗しました：${why}`, waiting: "最初のトークンを待っています…", cut: "トークン数の上限に達しました。",
  loading: "サーバーがモデルを読み込んでいます。準備ができると自動的に再開します。", loadingPart: (file, percent) => `${file}：${percent}％`, loadingRest: "準備中",
  loadingFile: { target: "ターゲットモデル", draft: "ドラフトモデル", head: "ターゲットのヘッド", model: "モデル" },
  away: "サーバーから応答がありません。自動的に再接続します。",
  key: "APIキー", keyWanted: "このサーバーにはAPIキーが必要です。キーはこのタブを閉じるまで保持されます。", keyUse: "使用する",
  system: "システムプロンプト", systemHelp: "会話の前にモデルへ与える指示です。", temperature: "温度", topP: "Top-p", seed: "シード", maxTokens: "最大トークン数", modelChoice: "モデル",
  temperatureHelp: "0〜2。0では常に最も確率の高いトークンを選びます。空欄にするとサーバーの既定値になります。", topPHelp: "0より大きく1以下。空欄にするとサーバーの既定値になります。",
  seedHelp: "同じシードなら同じ文章になります。空欄にすると毎回変わります。", maxTokensHelp: "空欄にするとコンテキストの上限までです。",
  plain: "比較のため、通常のデコードで生成する", wrong: (name) => `${name}：この値は指定できません。`,
  settingsFor: "この会話と、これから始める会話に適用されます。", save: "保存", theme: { dark: "ダークモード", light: "ライトモード" },
  colours: "トークンに色を付ける", figures: "この回答", tree: "候補があった直近のフォワード", timeline: "ターゲットとドラフターの動作時間", legend: "トークンの提案元",
  rate: "トークン/秒", speedup: "倍（通常のデコード比、推定）", perForward: "トークン/フォワード", forwards: "フォワード",
  soFar: "途中経過", tooFew: "フォワードが少なく、まだ判断できません", noisy: (spread) => `ばらつきが大きい（±${number(spread, 2)}）`,
  disturbed: "推定値が1フォワードあたりのトークン数を超えました。通常のデコードの測定中に、マシンがほかの処理で混み合っていたと考えられます。投機的デコーディングで得られる高速化は1フォワードあたりのトークン数が上限なので、その値を表示しています。",
  none: "候補はありませんでした", nothingYet: "回答の生成が始まると表示されます。", noRounds: "この回答のフォワードの記録はありません。ページを閉じると残りません。",
  noCandidates: "この回答には、候補のあったフォワードがまだありません。",
  target: "ターゲット", drafter: "ドラフター", rows: "行", before: "前のフォワード", after: "次のフォワード", follow: "最新に追従", gone: "提案",
  exact: { fast: "fast：僅差のトークンは、通常のデコードと異なることがあります", "any-shape": "exact：どの形のフォワードでもロジットが一致します", "one-class": "exact：ロジットが一致する行数だけを使い、1系列ずつ処理します", "near-ties": "exact：僅差のトークンは、単独のフォワードで決め直します" },
  exactBy: (level, kernels) => `${level}（${kernels}）`,
  ideas: ["Pythonでクイックソートを、テスト付きで書いてください。", "ハッシュテーブルの仕組みを、例を挙げて説明してください。", "灯台守が主人公の短い物語を書いてください。"],
  sources: { draft: "ドラフトモデル", draft2: "第2ドラフトモデル", prompt_lookup: "既出の文字列（プロンプトルックアップ）", correction: "過去の訂正", prediction: "予測出力", grammar: "文法で決まる文字列", head: "ターゲットのヘッド", other: "その他の提案元", target: "ターゲット自身" },
  line: ({ tokens, rate, perForward }) => `${tokens}トークン・毎秒${number(rate, 1)}トークン・1フォワードあたり${number(perForward, 2)}トークン`,
  caption: ({ round, candidates, accepted, rejected, ms }) => `フォワード${round}：候補${candidates}個を${number(ms, 1)}ミリ秒で検証しました。受理${accepted}個（✓）、棄却${rejected}個（✗）、続いてターゲット自身のトークン（→）です。`,
  why: {
    verified: ({ taken, ready, expected, ms, plain }) => `候補を検証しています。直近の検証では候補${ready}個のうち${taken}個を使い、${number(ms)}ミリ秒で${number(expected, 1)}トークンを見込みました。通常のデコードでは同じ時間に${number(plain, 1)}トークンです。`,
    unlikely: ({ ready }) => `いまは通常のデコードをしています。候補${ready}個は、長いフォワードの時間に見合うほど確率が高くありませんでした。`,
    gated: () => "いまは通常のデコードをしています。候補を作る時間に見合う効果がここでは得られないため、ドラフターを休ませています。",
    dear: ({ steps, tokens, cost, worth }) => `いまは通常のデコードをしています。ドラフトモデルを${steps}ステップ進めても、${number(cost)}ミリ秒で得られるのは${number(tokens, 2)}トークンで、同じ時間に${number(worth, 2)}トークンを生成できるためです。`,
    nothing: () => "いまは通常のデコードをしています。ここで候補を出した提案元はありませんでした。",
  },
};

export const WORDS = { en, ja };

/**
 * The language of the page: the one that was chosen, else the first of the browser's that it has.
 * @param {string | null} chosen
 * @param {readonly string[]} preferred
 * @returns {"en" | "ja"}
 */
export function chooseLanguage(chosen, preferred) {
  if (chosen === "en" || chosen === "ja") return chosen;
  for (const language of preferred) {
    if (/^ja\b/i.test(language)) return "ja";
    if (/^en\b/i.test(language)) return "en";
  }
  return "en";
}
