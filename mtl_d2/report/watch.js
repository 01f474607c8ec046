// A page that is written anew while its run goes on loads itself again when it has changed, at the same place.
{
  const { changes, version, seconds } = document.body.dataset;
  const MEMORY = `place in ${location.pathname}`;
  const folds = [...document.querySelectorAll("details")];
  const enlarged = [...document.querySelectorAll(".chart input")];
  const nameOf = (element) => element.getAttribute("aria-label") || element.querySelector("summary").textContent;
  history.scrollRestoration = "manual";
  restore();
  // A script beside the page says which version is the newest: it can be read from a folder, where fetch is refused.
  window.mtlReportVersion = (newest) => {
    if (newest === version) return;
    const open = folds.filter((fold) => fold.open).map(nameOf);
    const large = enlarged.filter((box) => box.checked).map(nameOf);
    try {
      sessionStorage.setItem(MEMORY, JSON.stringify({ top: window.scrollY, open, large }));
    } finally {
      history.scrollRestoration = "auto"; // of a page that follows no more
      location.reload();
    }
  };
  setInterval(() => {
    const script = document.createElement("script");
    script.src = `${changes}?${Date.now()}`;
    script.onload = script.onerror = () => script.remove();
    document.head.append(script);
  }, seconds * 1000);

  function restore() {
    try {
      const { top, open, large } = JSON.parse(sessionStorage.getItem(MEMORY));
      folds.forEach((fold) => { fold.open = fold.open || open.includes(nameOf(fold)); });
      enlarged.forEach((box) => { box.checked = large.includes(nameOf(box)); });
      window.scrollTo(0, top);
      sessionStorage.removeItem(MEMORY);
    } catch {
      return; // nothing is remembered
    }
  }
}
