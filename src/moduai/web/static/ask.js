// The page while it is used: asks without a reload and shows the answer as it is written.
// The conversation lives in `turns` and nowhere else. Without this file the form works by itself.

import { events } from "./events.js";

const $ = (id) => document.getElementById(id);
const page = $("page");
const form = $("ask");
const field = $("question");
const conversation = $("conversation");
const words = $("words").dataset;
const DRAFT = "modu-draft";

const turns = [...conversation.children].map((article) => ({
  article,
  question: article.querySelector(".question").innerText,
  answer: article.querySelector(".answer").innerText.trim(),
}));
let running = null;

// One short sentence for screen readers: begin, end, errors. Never the text as it grows.
function say(text) {
  $("status").textContent = text;
}

function begin(question) {
  const article = $("turn").content.firstElementChild.cloneNode(true);
  article.querySelector(".question").textContent = question;
  conversation.append(article);
  const turn = { article, question, answer: "" };
  turns.push(turn);
  page.classList.add("started");
  run(turn);
}

async function run(turn) {
  const answer = turn.article.querySelector(".answer");
  running = new AbortController();
  turn.ended = false;
  turn.answer = "";
  reset(turn, answer);
  controls();
  say(words.answering);
  scrollTo(0, document.documentElement.scrollHeight);
  try {
    const response = await fetch("/ask", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        token: form.elements.token.value,
        model: form.elements.model?.value ?? "",
        question: turn.question,
        turns: turns
          .slice(0, turns.indexOf(turn))
          .filter((earlier) => earlier.answer)
          .slice(-50)
          .map(({ question, answer }) => ({ question, answer })),
      }),
      signal: running.signal,
      cache: "no-store",
    });
    for await (const event of events(response.body)) keepEnd(() => show(turn, answer, event));
    if (!turn.ended) fail(turn, words.lost);
  } catch {
    if (running.signal.aborted) stopped(turn);
    else fail(turn, answer.querySelector(".block") ? words.lost : words.offline);
  }
  turn.answer ||= [...answer.querySelectorAll(".block")].map((block) => block.innerText).join("\n");
  keepEnd(() => {
    answer.querySelector(".place")?.remove();
    answer.removeAttribute("aria-busy");
    turn.article.querySelector(".actions").hidden = false;
    turn.article.querySelector("[data-do=copy]").hidden = !turn.answer;
  });
  running = null;
  controls();
}

function reset(turn, answer) {
  const place = $("turn").content.querySelector(".place").cloneNode();
  place.textContent = place.dataset.begin;
  answer.replaceChildren(place);
  answer.setAttribute("aria-busy", "true");
  turn.article.querySelectorAll(".remark, .notice").forEach((old) => old.remove());
  turn.article.querySelector(".meta").textContent = "";
  turn.article.querySelector(".actions").hidden = true;
}

// Whoever reads at the end stays at the end; whoever has scrolled back is left alone.
function keepEnd(change) {
  const atEnd = scrollY + innerHeight > document.documentElement.scrollHeight - 80;
  change();
  if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
}

function show(turn, answer, event) {
  if (event.event === "place") wait(answer, event.text);
  else if (event.event === "block") write(answer, event);
  else if (event.event === "error") fail(turn, event.message);
  else finish(turn, event);
}

function wait(answer, text) {
  const place = answer.querySelector(".place");
  if (!place) return;
  if (place.textContent === place.dataset.begin) say(text);
  place.textContent = text;
}

function write(answer, { index, html }) {
  answer.querySelector(".place")?.remove();
  let block = answer.children[index];
  if (!block) {
    block = document.createElement("div");
    block.className = "block";
    answer.append(block);
  }
  block.innerHTML = html; // sanitised by the server's allow-list
}

function finish(turn, event) {
  turn.ended = true;
  turn.answer = event.text;
  const meta = turn.article.querySelector(".meta");
  meta.textContent = `${event.origin} · ${event.figures}`;
  event.remarks.forEach((text) => remark(turn, text));
  say(words.done);
}

function stopped(turn) {
  remark(turn, words.stopped);
  say(words.stopped);
}

function remark(turn, text) {
  const line = document.createElement("p");
  line.className = "remark";
  line.textContent = text;
  turn.article.querySelector(".meta").before(line);
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
  $("new").hidden = running !== null || turns.length === 0;
  if (had !== document.body && had.closest("[hidden]")) field.focus();
}

async function copy(turn, button) {
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(turn.answer);
    label.textContent = words.copied;
    say(words.copied);
    setTimeout(() => (label.textContent = words.copy), 2000);
  } catch {
    say(words.notCopied);
    label.textContent = words.notCopied;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const idea = event.submitter?.name === "suggestion";
  const question = idea ? event.submitter.value : field.value.trim();
  if (running || !question) return;
  if (!idea) {
    field.value = "";
    sessionStorage.removeItem(DRAFT);
  }
  document.querySelector(".dock > .notice")?.remove();
  begin(question);
  // a phone's keyboard would cover the answer
  if (matchMedia("(pointer: coarse)").matches) field.blur();
  else field.focus();
});

conversation.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  const turn = turns.find(({ article }) => article.contains(button));
  if (!turn) return;
  if (button.dataset.do === "copy") copy(turn, button);
  else if (!running) run(turn);
});

$("stop").addEventListener("click", () => running?.abort());

$("new").addEventListener("click", () => {
  turns.length = 0;
  conversation.replaceChildren();
  page.classList.remove("started");
  controls();
  field.focus();
});

field.addEventListener("input", () => sessionStorage.setItem(DRAFT, field.value));

field.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a Hangul syllable: that is not a wish to send
  const composing = event.isComposing || event.keyCode === 229;
  if (event.key !== "Enter" || event.shiftKey || composing || !matchMedia("(pointer: fine)").matches) return;
  event.preventDefault();
  form.requestSubmit($("send"));
});

document.querySelector(".models")?.addEventListener("change", (event) => {
  $("chosen").textContent = event.target.value;
});

document.addEventListener("keydown", (event) => {
  const models = document.querySelector(".models[open]");
  if (event.key !== "Escape" || !models) return;
  models.open = false;
  models.querySelector("summary").focus();
});

document.addEventListener("click", (event) => {
  const models = document.querySelector(".models[open]");
  if (models && !models.contains(event.target)) models.open = false;
});

field.value ||= sessionStorage.getItem(DRAFT) ?? "";
controls();
if (turns.length) scrollTo(0, document.documentElement.scrollHeight);
