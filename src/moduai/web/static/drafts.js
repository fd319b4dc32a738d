// What was written and not sent survives a reload: a resident's for each conversation, a guest's in this tab.
// Drafts of whoever used this browser before are removed when the page opens.

const PREFIX = "modu-draft:";
const MOST = 40;

function attempt(work) {
  try {
    return work();
  } catch {
    return null; // storage is full or not allowed: the page works without
  }
}

export function drafts(owner, place) {
  const mine = `${PREFIX}${owner}:`;
  const store = attempt(() => (owner ? localStorage : sessionStorage));
  attempt(() => {
    const kept = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
    const others = kept.filter((key) => !owner || !key.startsWith(mine));
    [...others, ...kept.filter((key) => !others.includes(key)).slice(MOST)].forEach((key) => localStorage.removeItem(key));
  });
  let key = mine + (place || "new");
  return {
    load: () => attempt(() => store.getItem(key)) ?? "",
    save: (text) => attempt(() => (text ? store.setItem(key, text) : store.removeItem(key))),
    move(place) {
      const text = this.load();
      this.save("");
      key = mine + place;
      this.save(text);
    },
  };
}
