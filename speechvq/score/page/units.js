// A stretch of a recording alone: exact to the sample where the sound lies inside the page.
let context, sounding;
const decoded = new Map();
async function samples(audio) {
  context ??= new AudioContext();
  if (!decoded.has(audio)) {
    const content = await (await fetch(audio.src)).arrayBuffer();
    decoded.set(audio, await context.decodeAudioData(content));
  }
  return decoded.get(audio);
}
function hush() {
  if (!sounding) return;
  sounding.source?.stop();
  sounding.part.classList.remove("playing");
  sounding = undefined;
}
async function stretch(audio, part, from, to) {
  hush();
  for (const other of players) other.pause();
  const mine = sounding = { part };
  part.classList.add("playing");
  const done = () => { if (sounding === mine) hush(); };
  if (audio.src.startsWith("data:")) {
    const buffer = await samples(audio);
    if (sounding !== mine) return;
    mine.source = context.createBufferSource();
    mine.source.buffer = buffer;
    mine.source.connect(context.destination);
    mine.source.addEventListener("ended", done);
    mine.source.start(0, from, to - from);
    return;
  }
  // Beside the page: a browser reads it from the disk only into a player.
  const start = () => {
    audio.currentTime = from;
    audio.play();
    const watch = () => {
      if (sounding === mine && audio.currentTime < to) { requestAnimationFrame(watch); return; }
      audio.pause();
      done();
    };
    requestAnimationFrame(watch);
  };
  if (audio.readyState > 0) { start(); return; }
  audio.addEventListener("loadedmetadata", start, { once: true });
  audio.load();
}
for (const part of document.querySelectorAll("[data-from]")) {
  const audio = document.getElementById(part.closest("[data-for]").dataset.for);
  part.addEventListener("click", (event) => {
    event.stopPropagation();
    stretch(audio, part, Number(part.dataset.from), Number(part.dataset.to));
  });
}
// A unit anywhere on the page plays its montage, if it has one.
for (const part of document.querySelectorAll("[data-unit]")) {
  const audio = document.getElementById(`m${part.dataset.unit}`);
  if (!audio) {
    if (part.tagName === "BUTTON") part.disabled = true;
    continue;
  }
  part.addEventListener("click", () => {
    hush();
    if (audio.paused) { audio.currentTime = 0; audio.play(); } else { audio.pause(); }
  });
  audio.addEventListener("play", () => part.classList.add("playing"));
  audio.addEventListener("pause", () => part.classList.remove("playing"));
}
