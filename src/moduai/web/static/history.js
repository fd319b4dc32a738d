// The list of conversations. Without this file, deleting asks on a page of its own.

import { deletions } from "./undo.js";

const status = document.getElementById("status");
deletions(document.getElementById("words").dataset, (text) => (status.textContent = text));

document.addEventListener("click", ({ target }) => {
  document.querySelectorAll(".menu[open]").forEach((menu) => (menu.open = menu.contains(target)));
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector(".menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
