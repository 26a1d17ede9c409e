// Opens each document of `names` in a frame of each width, and writes what is wrong with it.
const faults = [];
const LEAST_TEXT = 11, MOST_RUN = 700, CONTRAST = 4.5;

// The luminance of a colour, `rgb(…)` (WCAG 2.2).
function luminance(colour) {
  const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map(Number).map((part) => {
    part /= 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((left, right) => left - right);
  return (high + 0.05) / (low + 0.05);
}

function background(view, element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = view.getComputedStyle(at).backgroundColor;
    if (colour && !/, 0\)$/.test(colour)) return colour;
  }
  const sheet = view.document.querySelector("svg > rect");
  return sheet ? view.getComputedStyle(sheet).fill : "rgb(255, 255, 255)";
}

function check(where, view) {
  const fail = (what) => faults.push(`${where}: ${what}`);
  const root = view.document.documentElement;
  if (root.scrollWidth > view.innerWidth) fail(`scrolls to ${root.scrollWidth} px`);
  for (const element of view.document.querySelectorAll("main *:not(svg *)")) {
    const scrolls = /auto|scroll|hidden/.test(view.getComputedStyle(element).overflowX);
    if (scrolls && !["THEAD", "CAPTION"].includes(element.tagName) && element.scrollWidth > element.clientWidth + 1) fail(`a ${element.tagName} hides values`);
  }
  for (const label of view.document.querySelectorAll("td[data-head]")) {
    const style = view.getComputedStyle(label, "::before");
    if (style.content !== "none" && parseFloat(style.fontSize) < LEAST_TEXT) fail(`a heading is ${style.fontSize} high`);
  }
  for (const run of view.document.querySelectorAll(".run, .wide")) {
    const width = run.getBoundingClientRect().width;
    if (width > MOST_RUN + 0.5) fail(`a run is ${width} px wide`);
  }
  for (const svg of view.document.querySelectorAll("svg")) {
    if (svg.ownerSVGElement) continue;
    const frame = svg.getBoundingClientRect();
    const inside = (rect, slack) => rect.left >= frame.left - slack && rect.right <= frame.right + slack
      && rect.top >= frame.top - slack && rect.bottom <= frame.bottom + slack;
    const texts = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect(), text]);
    texts.forEach(([name, rect, text], at) => {
      const size = parseFloat(view.getComputedStyle(text).fontSize) * text.getScreenCTM().a;
      if (size < LEAST_TEXT) fail(`“${name}” is ${size.toFixed(2)} px high`);
      if (!inside(rect, 0.5)) fail(`“${name}” lies outside of its drawing`);
      const ratio = contrast(view.getComputedStyle(text).fill, background(view, svg));
      if (ratio < CONTRAST) fail(`“${name}” has a contrast of ${ratio.toFixed(1)}`);
      for (const [other, its] of texts.slice(at + 1)) {
        const wide = Math.min(rect.right, its.right) - Math.max(rect.left, its.left);
        const high = Math.min(rect.bottom, its.bottom) - Math.max(rect.top, its.top);
        if (wide > 1 && high > 4) fail(`“${name}” lies upon “${other}”`);
      }
    });
    for (const path of svg.querySelectorAll("path")) {
      const rect = path.getBoundingClientRect();
      if (rect.width > 0 && !inside(rect, 4)) fail(`a path of class “${path.className.baseVal}” lies outside of its drawing`);
    }
  }
  const walker = view.document.createTreeWalker(view.document.body ?? root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("svg, style, title")) continue;
    const style = view.getComputedStyle(element);
    if (parseFloat(style.fontSize) < LEAST_TEXT) fail(`“${walker.currentNode.data}” is ${style.fontSize} high`);
    const range = view.document.createRange();
    range.selectNodeContents(walker.currentNode);
    const rect = range.getBoundingClientRect();
    // Some headings are there for screen readers only.
    const head = element.closest("thead, caption");
    const hidden = head && view.getComputedStyle(head).clipPath !== "none";
    if (!hidden && (rect.left < 0 || rect.right > view.innerWidth + 0.5)) fail(`“${walker.currentNode.data}” is out of view`);
    const ratio = contrast(style.color, background(view, element));
    if (ratio < CONTRAST) fail(`“${walker.currentNode.data}” has a contrast of ${ratio.toFixed(1)}`);
  }
}

async function open(name, width) {
  const frame = document.createElement("iframe");
  frame.style = `border:0;width:${width}px;height:1000px`;
  const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
  frame.src = name;
  document.body.append(frame);
  await loaded;
  for (const details of frame.contentDocument.querySelectorAll("details")) details.open = true;
  check(`${name} at ${width} px`, frame.contentWindow);
  frame.remove();
}

(async () => {
  let opened = 0;
  for (const name of names) {
    for (const width of [360, 400, 768, 1280, 1920]) {
      try {
        await open(name, width);
        opened += 1;
      } catch (error) {
        faults.push(`${name} at ${width} px: ${error}`);
      }
    }
  }
  if (!opened) faults.push("nothing was opened");
  const pre = document.createElement("pre");
  pre.id = "faults";
  pre.textContent = faults.slice(0, 60).join("\n");
  document.body.append(pre);
})();
