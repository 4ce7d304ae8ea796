"use strict";
// One recording plays at a time, and a line moves over its pictures.
const players = [...document.querySelectorAll("audio")];
for (const audio of players) {
  const plots = document.querySelectorAll(`[data-for="${audio.id}"]`);
  const move = () => {
    for (const plot of plots) {
      plot.style.setProperty("--at", audio.duration ? audio.currentTime / audio.duration : 0);
      plot.style.setProperty("--shown", audio.currentTime > 0 ? 1 : 0);
    }
    if (!audio.paused) requestAnimationFrame(move);
  };
  audio.addEventListener("play", () => {
    for (const other of players) if (other !== audio) other.pause();
    move();
  });
  audio.addEventListener("timeupdate", move);
  for (const plot of plots) {
    plot.addEventListener("click", (event) => {
      const box = plot.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      const start = () => { audio.currentTime = share * audio.duration; audio.play(); };
      if (audio.readyState > 0) { start(); return; }
      audio.addEventListener("loadedmetadata", start, { once: true });
      audio.load();
    });
  }
}
for (const button of document.querySelectorAll("[data-play]")) {
  const audio = document.getElementById(button.dataset.play);
  button.addEventListener("click", () => {
    if (audio.paused) { audio.currentTime = 0; audio.play(); } else { audio.pause(); }
  });
  audio.addEventListener("play", () => { button.textContent = "❚❚"; });
  audio.addEventListener("pause", () => { button.textContent = "▶"; });
}
// Tables sort by the column whose heading is clicked; a missing figure always comes last.
for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
