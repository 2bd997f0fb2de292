// Put into a copy of a report by ci/report.sh, which shows it in a frame as wide as a screen: tells
// the page around it what a reader would find wrong. Nothing of the report itself needs a script.
addEventListener("load", () => {
  const found = [];
  const say = (what) => found.length < 20 && found.push(what);
  const page = document.documentElement;
  if (page.scrollWidth > innerWidth) say(`the page is ${page.scrollWidth} wide, the screen ${innerWidth}`);
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  const charts = [...document.querySelectorAll("svg.chart")];
  for (const chart of charts) {
    const name = chart.getAttribute("aria-label").slice(0, 60);
    const paper = chart.getBoundingClientRect();
    const unit = paper.width / chart.viewBox.baseVal.width;
    for (const text of chart.querySelectorAll("text")) {
      const size = parseFloat(getComputedStyle(text).fontSize) * unit;
      if (size < (innerWidth < 390 ? 9 : 11.5)) say(`${name}: "${text.textContent.trim()}" is ${size.toFixed(1)} px high`);
    }
    const texts = [...chart.querySelectorAll("text")].map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
    texts.forEach(([words, box], index) => {
      if (box.left < paper.left - 1 || box.right > paper.right + 1 || box.top < paper.top - 1 || box.bottom > paper.bottom + 1)
        say(`${name}: "${words}" is cut`);
      for (const [other, there] of texts.slice(index + 1)) {
        const over = box.left < there.right - 1 && there.left < box.right - 1 && box.top < there.bottom - 3 && there.top < box.bottom - 3;
        if (over) say(`${name}: "${words}" and "${other}" overlap`);
      }
    });
  }
  const paper = getComputedStyle(document.body).backgroundColor;
  const verdict = found.length ? `WRONG: ${found.join("; ")}` : "layout is right";
  parent.postMessage(`charts ${charts.length}, width ${innerWidth}, paper ${paper}, ${verdict}`, "*");
});
