// The page while it is used: asks without a reload and shows the answer as it is written.
// Without this file every button here is one of a form, and works by itself.
// Where turns are kept, the server has them; elsewhere they live in `facts` and nowhere else.

import { drafts } from "./drafts.js";
import { events } from "./events.js";
import { reporting } from "./report.js";
import { deletions } from "./undo.js";

const $ = (id) => document.getElementById(id);
const page = $("page");
const form = $("ask");
const field = $("question");
const conversation = $("conversation");
const words = $("words").dataset;
const draft = drafts(page.dataset.owner, page.dataset.keeps);
const MOVED = "modu-moved";
const PLACE_EVERY_MS = 15000;

const facts = new WeakMap();
let running = null;

// One short sentence for screen readers: begin, place now and then, end, errors. Never the text as it grows.
function say(text) {
  $("status").textContent = text;
}

const report = reporting($("reporting"), form.elements.token.value, words, say);
deletions(words, say);

function fact(article) {
  if (!facts.has(article)) {
    const question = article.querySelector(".question").textContent;
    facts.set(article, { id: article.dataset.key, question, answer: null });
  }
  return facts.get(article);
}

function textOf(article) {
  if (fact(article).answer !== null) return fact(article).answer;
  const answer = article.querySelector(".answer");
  answer.classList.add("read"); // its buttons and notices are not part of it
  const text = answer.innerText.trim();
  answer.classList.remove("read");
  return text;
}

const keeps = () => "keeps" in page.dataset;
const place = () => page.dataset.keeps ?? "";
const articles = () => [...conversation.querySelectorAll(".turn")];
const isId = (key) => !/^\d{0,3}$/.test(key);

// The turn that this one follows: the nearest before it that the server took.
function parentOf(article) {
  const all = articles();
  const before = all.slice(0, all.indexOf(article)).findLast((each) => isId(fact(each).id));
  return before ? fact(before).id : (article.dataset.parent ?? "");
}

function begin(question, article = $("turn").content.firstElementChild.cloneNode(true)) {
  article.querySelector(".question").textContent = question;
  const all = articles();
  if (article.isConnected) all.slice(all.indexOf(article) + 1).forEach((each) => each.remove());
  else conversation.append(article);
  const past = article.closest(".past");
  past?.replaceWith(...past.childNodes);
  facts.set(article, { id: "", question, answer: null });
  page.classList.add("started");
  run(article);
}

function body(article, model = form.elements.model?.value ?? "") {
  const asked = {
    token: form.elements.token.value,
    model,
    question: fact(article).question,
    public: form.elements.public?.checked ?? false,
  };
  if (keeps()) return { ...asked, conversation: place(), parent: place() ? parentOf(article) : null };
  const all = articles();
  const turns = all
    .slice(0, all.indexOf(article))
    .slice(-50)
    .map((each) => ({ question: fact(each).question, answer: textOf(each) }))
    .filter(({ answer }) => answer);
  return { ...asked, turns };
}

async function run(article, model) {
  const answer = article.querySelector(".answer");
  const control = new AbortController();
  const turn = { article, answer, blocks: new Map(), ended: false, said: 0, rests: 0, control };
  const sent = body(article, model);
  Object.assign(fact(article), { answer: null, id: "" });
  running = turn;
  reset(turn);
  controls();
  say(words.answering);
  scrollTo(0, document.documentElement.scrollHeight);
  try {
    const response = await post("/ask", sent, control.signal);
    for await (const event of events(response.body)) show(turn, event);
    if (!turn.ended) fail(turn, words.lost);
  } catch {
    if (turn.instead) say("");
    else if (control.signal.aborted) stopped(turn);
    else fail(turn, answer.querySelector(".block") ? words.lost : words.offline);
  }
  draw(turn);
  fact(article).answer ??= textOf(article);
  keepEnd(() => {
    answer.querySelector(".place")?.remove();
    withdraw(turn);
    answer.removeAttribute("aria-busy");
    article.querySelector(".actions").hidden = false;
    for (const name of ["copy", "report"]) article.querySelector(`[data-do=${name}]`).hidden = !fact(article).answer;
  });
  running = null;
  controls();
  if (turn.instead) run(article, turn.instead);
}

function post(address, content, signal) {
  const headers = { "content-type": "application/json" };
  return fetch(address, { method: "POST", headers, body: JSON.stringify(content), signal, cache: "no-store" });
}

function reset({ article, answer }) {
  const waiting = $("turn").content.querySelector(".place").cloneNode();
  waiting.textContent = waiting.dataset.begin;
  answer.replaceChildren(waiting);
  answer.setAttribute("aria-busy", "true");
  article.querySelectorAll(".remark, .notice, .offer").forEach((old) => old.remove());
  article.querySelector(".meta").textContent = "";
  article.querySelector(".actions").hidden = true;
}

function show(turn, event) {
  if (event.event === "block") {
    if (!turn.blocks.size) setTimeout(() => (document.hidden ? draw(turn) : requestAnimationFrame(() => draw(turn))), turn.rests - performance.now());
    turn.blocks.set(event.index, event.html);
  } else if (event.event === "begin") moved(turn, event);
  else if (event.event === "place") wait(turn, event);
  else if (event.event === "error") fail(turn, event.message);
  else finish(turn, event);
}

// Finished blocks are written once and left alone; the growing one is written again, once a frame at most.
// Drawing takes an eighth of the time: on a slow phone it comes seldom, so that keys are answered at once.
function draw(turn) {
  const { answer, blocks } = turn;
  if (!blocks.size) return;
  const began = performance.now();
  setTimeout(() => (turn.rests = 8 * performance.now() - 7 * began)); // after layout and paint
  keepEnd(() => {
    answer.querySelector(".place")?.remove();
    withdraw(turn);
    for (const [index, html] of blocks) {
      let block = answer.children[index];
      if (!block) {
        block = document.createElement("div");
        block.className = "block";
        answer.append(block);
      }
      block.innerHTML = html; // sanitised by the server's allow-list
    }
  });
  blocks.clear();
}

// Whoever reads at the end stays at the end; whoever has scrolled back is left alone.
function keepEnd(change) {
  const atEnd = scrollY + innerHeight > document.documentElement.scrollHeight - 80;
  change();
  if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
}

// The question was taken: from now on the conversation has an address, if it is kept.
function moved({ article }, { turn, conversation: id }) {
  fact(article).id = article.dataset.key = turn;
  if (!id || id === place()) return;
  page.dataset.keeps = id;
  form.elements.place.value = id;
  history.replaceState(null, "", `/c/${id}`);
  draft.move(id);
  document.querySelectorAll("[data-lang]").forEach((link) => (link.href = `/c/${id}?lang=${link.dataset.lang}`));
  const link = document.createElement("a");
  link.href = `/c/${id}`;
  link.setAttribute("aria-current", "page");
  link.append(document.createElement("bdi"));
  link.firstChild.textContent = fact(article).question.slice(0, 60);
  const item = document.createElement("li");
  item.append(link);
  $("recent")?.prepend(item);
}

function wait(turn, { text, lighter, offer }) {
  const waiting = turn.answer.querySelector(".place");
  if (!waiting) return;
  waiting.textContent = text;
  const box = turn.article.querySelector(".offer");
  if (!lighter) box?.remove();
  const isNew = lighter && !box;
  if (isNew) keepEnd(() => propose(turn, lighter, offer));
  if (!isNew && turn.said && performance.now() - turn.said < PLACE_EVERY_MS) return;
  turn.said = performance.now();
  say(isNew ? `${text} ${turn.article.querySelector(".offer").innerText}` : text);
}

// It stands below the answer, which counts as busy: what is busy is not read out.
function propose({ article }, lighter, label) {
  const box = $("offer").content.firstElementChild.cloneNode(true);
  const button = box.querySelector("button");
  button.value = lighter;
  button.textContent = label;
  article.querySelector(".result").prepend(box);
}

function withdraw({ article }) {
  const box = article.querySelector(".offer");
  if (box?.contains(document.activeElement)) $("stop").focus();
  box?.remove();
}

function finish(turn, event) {
  draw(turn);
  turn.ended = true;
  fact(turn.article).answer = event.text;
  keepEnd(() => {
    turn.article.querySelector(".meta").textContent = `${event.origin} · ${event.figures}`;
    event.remarks.forEach((text) => remark(turn, text));
  });
  say(words.done);
}

function stopped(turn) {
  remark(turn, words.stopped);
  say(words.stopped);
}

function remark({ article }, text) {
  const line = document.createElement("p");
  line.className = "remark";
  line.textContent = text;
  article.querySelector(".meta").before(line);
}

function fail(turn, message) {
  turn.ended = true;
  const box = $("error").content.firstElementChild.cloneNode(true);
  say("");
  turn.article.querySelector(".result").prepend(box);
  box.querySelector("span").textContent = message; // after it stands in the page, so that it is read out
}

function controls() {
  const had = document.activeElement;
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
  $("new").hidden = running !== null || !conversation.querySelector(".turn");
  if (had !== document.body && had.closest("[hidden]")) field.focus();
}

function flash(button, text) {
  const label = button.querySelector("span") ?? button;
  const before = label.dataset.label ?? label.textContent;
  label.dataset.label = before;
  label.textContent = text;
  say(text);
  setTimeout(() => (label.textContent = before), 2000);
}

// `text` may still be on its way: the clipboard takes a promise as well.
async function copy(button, text) {
  try {
    if (typeof text === "string") await navigator.clipboard.writeText(text);
    else await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
    flash(button, words.copied);
  } catch {
    flash(button, words.notCopied);
  }
}

function answerText(article) {
  const { id, answer } = fact(article);
  if (answer !== null || !place() || !isId(id)) return textOf(article);
  const plain = (text) => new Blob([text], { type: "text/plain" });
  return fetch(`/c/${place()}/${id}`).then(async (found) => plain(found.ok ? await found.text() : textOf(article)));
}

function edit(article) {
  const editor = $("edit").content.firstElementChild.cloneNode(true);
  const asked = article.querySelector(".asked");
  const box = editor.querySelector("textarea");
  box.value = fact(article).question;
  asked.hidden = true;
  asked.after(editor);
  box.focus();
}

function leaveEdit(editor) {
  const asked = editor.previousElementSibling;
  editor.remove();
  asked.hidden = false;
  return asked;
}

const doing = {
  copy: (button, article) => copy(button, answerText(article)),
  code: (button) => copy(button, button.parentElement.querySelector("pre").textContent),
  again: (_, article) => running || begin(fact(article).question, article),
  edit: (_, article) => running || edit(article),
  lighter: ({ value }) => {
    running.instead = value;
    running.control.abort();
  },
  report: (button, article) => {
    const { id, question } = fact(article);
    const model = article.querySelector(".meta").textContent.split(" · ")[0];
    const shown = place() ? {} : { question, answer: textOf(article), model };
    report(button, { turn: isId(id) ? id : "", conversation: place(), ...shown });
  },
};

conversation.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  event.preventDefault();
  doing[button.dataset.do](button, button.closest(".turn"));
});

conversation.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = event.target.querySelector("textarea").value.trim();
  if (running || !question) return;
  const article = event.target.closest(".turn");
  leaveEdit(event.target);
  begin(question, article);
});

conversation.addEventListener("reset", (event) => leaveEdit(event.target).querySelector("[data-do]").focus());

form.addEventListener("submit", (event) => {
  if (event.submitter?.dataset.lang) return; // the same page in another language
  event.preventDefault();
  const idea = event.submitter?.name === "suggestion";
  const question = idea ? event.submitter.value : field.value.trim();
  if (running || !question) return;
  if (!idea) {
    field.value = "";
    draft.save("");
  }
  document.querySelector(".dock > .notice")?.remove();
  begin(question);
  // a phone's keyboard would cover the answer
  if (matchMedia("(pointer: coarse)").matches) field.blur();
  else field.focus();
});

$("stop").addEventListener("click", () => running?.control.abort());

$("new").addEventListener("click", (event) => {
  if (place() || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  conversation.replaceChildren();
  page.classList.remove("started");
  controls();
  field.focus();
});

field.addEventListener("input", () => draft.save(field.value));

document.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a Hangul syllable: that is not a wish to send
  const composing = event.isComposing || event.keyCode === 229;
  const writes = event.target === field || event.target.closest(".edit");
  if (event.key === "Enter" && writes && event.target.matches("textarea")) {
    if (event.shiftKey || composing || !matchMedia("(pointer: fine)").matches) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  }
  if (event.key !== "Escape") return;
  const open = document.querySelector("details[open]");
  if (event.target.closest(".edit")) event.target.form.reset();
  else if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

document.addEventListener("click", ({ target }) => {
  document.querySelectorAll("details[open]").forEach((open) => (open.open = open.contains(target)));
});

document.querySelector(".models")?.addEventListener("change", (event) => {
  $("chosen").textContent = event.target.value;
});

// In another language: what is kept nowhere goes along in this tab, and only for this one step.
document.querySelector(".top").addEventListener("click", (event) => {
  if (!event.target.closest("[data-lang]") || place() || !conversation.querySelector(".turn")) return;
  const turns = articles().map((article) => ({
    ...fact(article),
    answer: textOf(article),
    html: article.querySelector(".answer").innerHTML,
    meta: article.querySelector(".meta").textContent,
  }));
  try {
    sessionStorage.setItem(MOVED, JSON.stringify(turns));
  } catch {
    // too long to go along
  }
});

function comeBack() {
  const moved = sessionStorage.getItem(MOVED);
  sessionStorage.removeItem(MOVED);
  if (!moved || conversation.querySelector(".turn")) return;
  for (const { id, question, answer, html, meta } of JSON.parse(moved)) {
    const article = $("turn").content.firstElementChild.cloneNode(true);
    article.dataset.key = id;
    article.querySelector(".question").textContent = question;
    article.querySelector(".answer").innerHTML = html; // as this page had it, from the same server
    article.querySelector(".meta").textContent = meta;
    article.querySelector(".actions").hidden = false;
    facts.set(article, { id, question, answer });
    conversation.append(article);
    page.classList.add("started");
  }
}

try {
  comeBack();
} catch {
  // no storage: nothing came along
}
field.value ||= draft.load();
controls();
// once the page stands: to measure it here would lay it out twice
if (conversation.querySelector(".turn")) {
  requestAnimationFrame(() => setTimeout(() => scrollTo(0, document.documentElement.scrollHeight)));
}
