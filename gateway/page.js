"use strict";
// Renews what lives of the page, so that nobody has to reload it; without this script one does.
(() => {
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  const said = document.getElementById("said");
  const every_ms = 1000 * Number(live.dataset.every);
  const patience_ms = 10000;
  const failures_max = 2; // then what was shown is not shown as if it were now
  let failures = 0;

  // Somebody is filling this in. Who went away in the middle keeps nobody from seeing what is.
  const forgotten_ms = 120000;
  let touched_ms = -Infinity;
  for (const event of ["input", "focusin"]) live.addEventListener(event, () => { touched_ms = performance.now(); });
  const isInUse = section => performance.now() - touched_ms < forgotten_ms && [...section.querySelectorAll("input:not([type=hidden]), select")].some(field =>
    field === document.activeElement
    || (field.tagName === "SELECT" ? field.selectedIndex > 0 : field.value !== field.defaultValue));

  const renewed = (old, fresh) => {
    const open = [...old.querySelectorAll("details[open]")].map(each => each.id);
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(fresh);
    for (const id of open) if (document.getElementById(id)) document.getElementById(id).open = true;
    if (focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
  };

  const renew = text => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = [...page.body.children];
    const same = fresh.length === live.children.length && fresh.every((each, i) => each.id === live.children[i].id);
    if (!same) {
      live.replaceChildren(...fresh);
    } else {
      fresh.forEach((each, i) => {
        const old = live.children[i];
        // What is open was opened here: it is no difference.
        const shown = old.cloneNode(true);
        shown.querySelectorAll("details[open]").forEach(details => details.removeAttribute("open"));
        if (shown.innerHTML !== each.innerHTML && !isInUse(old)) renewed(old, each);
      });
    }
    const first = live.firstElementChild;
    const words = first && first.dataset.said || "";
    if (said.textContent !== words) said.textContent = words;
  };

  const look = async () => {
    try {
      const answer = await fetch(live.dataset.from, {
        headers: { "X-Part": "1" }, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patience_ms),
      });
      if (answer.status === 401) {
        location.reload(); // the session is over
        return;
      }
      if (!answer.ok) throw new Error(answer.status);
      renew(await answer.text());
      failures = 0;
    } catch {
      failures += 1;
    }
    lost.hidden = failures < failures_max;
    live.hidden = !lost.hidden;
    setTimeout(look, every_ms);
  };

  setTimeout(look, every_ms);
})();
