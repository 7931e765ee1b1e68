
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 20; // pixels, as in the style
  const LEAST = 1.5; // pixels of a phase, however short
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const [PLACE, INDEX, NAME, STATUS, ERROR, ENDED, PROTOCOL, FROM, UNTIL, MISSING, STALLED, PHASES] = Array(12).keys();
  const WORDS = {
    carrying: "something else", waiting: "waiting", queued: "queued behind others", sending: "sending", receiving: "receiving",
    stalled: "stalled", missing: "bytes missing", reset: "reset", to_server: "message to server", to_client: "message to client",
  };
  let shown = null; // the connection
  let seen = []; // its rows that reach into the time that is seen
  let from = 0; // what is seen of its time, in ns
  let until = 1;
  let dragged = null; // where a selection began, in ns

  function element(name, attributes, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  function drawing(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function duration(nanoseconds) {
    const value = Math.abs(nanoseconds);
    const sign = nanoseconds < 0 ? "-" : "";
    for (const [unit, size] of [["h", 3600e9], ["min", 60e9], ["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
      if (value >= size * (size >= 60e9 ? 2 : 0.9995)) {
        const shown = value / size;
        return `${sign}${shown < 9.995 ? shown.toFixed(2) : shown < 99.95 ? shown.toFixed(1) : Math.round(shown)} ${unit}`;
      }
    }
    return value ? `${sign}${Math.round(value)} ns` : "0 s";
  }

  // --- phases

  function phase(kind, left, right) {
    const width = Math.max(right - left, LEAST);
    if (kind === "reset") return drawing("path", { class: kind, d: `M${right - 4} 5l8 9m0 -9l-8 9` });
    if (kind === "missing") {
      const mark = drawing("text", { class: kind, x: left, y: 15 });
      mark.textContent = "?";
      return mark;
    }
    if (kind === "to_server") return drawing("rect", { class: kind, x: left, width: LEAST, y: 0, height: 9 });
    if (kind === "to_client") return drawing("rect", { class: kind, x: left, width: LEAST, y: 11, height: 9 });
    const thin = kind === "waiting" || kind === "queued";
    return drawing("rect", { class: kind, x: left, width, y: thin ? 7 : 3, height: thin ? 6 : 14 });
  }

  function lane(row, width) {
    const made = drawing("svg", { class: "lane" });
    const scale = width / (until - from);
    for (const [kind, begin, end] of row[PHASES]) {
      const left = Math.max((begin - from) * scale, -10);
      const right = Math.min((end - from) * scale, width + 10);
      if (right >= -10 && left <= width + 10) made.append(phase(data.kinds[kind], left, right));
    }
    return made;
  }

  // --- what is seen

  function laneWidth() {
    return Math.max(find("axis").getBoundingClientRect().width, 50);
  }

  function draw() {
    drawAxis();
    const rows = find("rows");
    const first = Math.max(Math.floor(rows.scrollTop / ROW) - 2, 0);
    const last = Math.min(first + Math.ceil(rows.clientHeight / ROW) + 4, seen.length);
    const width = laneWidth();
    const lines = [];
    for (let number = first; number < last; number++) {
      const row = seen[number];
      const label = element("span", { class: "label", title: row[NAME] }, element("i", {}, row[PLACE]), " ", row[NAME]);
      const isBad = row[ERROR] !== null || row[ENDED] === "reset";
      const said = [row[STATUS], row[ENDED] === "reset" ? "reset" : null, row[STATUS] === null ? row[ERROR] : null].filter((word) => word !== null);
      if (said.length) label.append(" ", element("span", { class: isBad ? "bad" : "calm" }, said.join(", ")));
      const line = element("div", { class: "row", "data-row": number }, label, lane(row, width));
      line.style.top = `${number * ROW}px`;
      lines.push(line);
    }
    find("lines").replaceChildren(...lines);
  }

  function drawAxis() {
    const axis = find("axis");
    const width = laneWidth();
    const scale = width / (until - from);
    let step = 10 ** Math.ceil(Math.log10(90 / scale));
    if (step * scale > 225) step /= 2.5;
    if (step * scale > 180) step /= 2;
    step = Math.max(Math.round(step), 1);
    const marks = [];
    for (let time = Math.ceil(from / step) * step; time <= until; time += step) {
      const x = (time - from) * scale;
      marks.push(drawing("line", { x1: x, x2: x, y1: 14, y2: 22 }));
      const text = drawing("text", { x: Math.min(x + 3, width - 48), y: 12 });
      text.textContent = duration(time);
      marks.push(text);
    }
    axis.replaceChildren(...marks);
    const whole = from === 0 && until === shown.lasts;
    find("range").textContent = whole ? duration(shown.lasts) : `${duration(from)} to ${duration(until)} of ${duration(shown.lasts)}`;
  }

  function see(begin, end) {
    const length = Math.min(Math.max(end - begin, 10), shown.lasts);
    from = Math.min(Math.max(begin, 0), shown.lasts - length);
    until = from + length;
    find("tip").hidden = true;
    seen = shown.rows.filter((row) => row[FROM] <= until && reaches(row) >= from);
    find("lines").style.height = `${seen.length * ROW}px`;
    const left = shown.units - shown.rows.length;
    find("left").textContent = [
      seen.length < shown.rows.length ? `${seen.length} of ${shown.rows.length} in this time` : "",
      left > 0 ? `${left} more of this connection took less time and are left out` : "",
    ].filter((text) => text).join("; ");
    draw();
  }

  // a stall may last longer than the exchange seems to
  function reaches(row) {
    return row[PHASES].reduce((latest, [, , end]) => Math.max(latest, end), row[UNTIL]);
  }

  function zoom(factor, at = (from + until) / 2) {
    see(at - (at - from) * factor, at + (until - at) * factor);
  }

  function all() {
    see(0, shown.lasts);
  }

  // --- connections

  function choose(number) {
    shown = data.connections[number];
    const begun = new Date(shown.startedMs).toISOString().replace("T", " ").replace("Z", " UTC");
    find("title").textContent = `${shown.place} · ${shown.client} → ${shown.server} · ${shown.protocol} · from ${begun}`;
    for (const button of find("connections").querySelectorAll("button"))
      button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
    find("connections").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
    find("rows").scrollTop = 0;
    all();
  }

  function list() {
    const wanted = find("filter").value.toLowerCase();
    const items = [];
    data.connections.forEach((each, number) => {
      const ends = `${each.client} → ${each.server}`;
      const faults = each.rows.filter((row) => row[ERROR] !== null || row[MISSING] > 0).length;
      const about = `${each.protocol}, ${each.units} in ${duration(each.lasts)}${faults ? `, ${faults} with errors or holes` : ""}`;
      if (!`${each.place} ${ends} ${about}`.toLowerCase().includes(wanted)) return;
      const button = element("button", { type: "button", "data-number": number, "aria-current": String(each === shown) },
        element("b", {}, each.place), ` ${ends}`, element("small", {}, about));
      button.addEventListener("click", () => choose(number));
      items.push(element("li", {}, button));
    });
    find("connections").replaceChildren(...items);
  }

  // --- pointing

  function timeAt(event) {
    const box = find("axis").getBoundingClientRect();
    return from + (event.clientX - box.left) / box.width * (until - from);
  }

  function tell(event) {
    const line = event.target.closest?.(".row");
    const tip = find("tip");
    if (!line || dragged !== null) {
      tip.hidden = true;
      return;
    }
    const row = seen[Number(line.dataset.row)];
    const said = [`${row[PLACE]}  ${row[NAME]}`, [row[PROTOCOL], row[STATUS], row[ENDED]?.replaceAll("_", " "), row[ERROR]].filter((word, at, words) => word !== null && words.indexOf(word) === at).join(", ")];
    said.push(`+${duration(row[FROM])}, ${duration(row[UNTIL] - row[FROM])} long`);
    const isTick = ([kind]) => data.kinds[kind].startsWith("to_");
    const phases = row[PHASES].filter((each) => !isTick(each)).sort((one, other) => one[1] - other[1] || other[0] - one[0]);
    for (const [kind, begin, end] of phases) {
      const name = data.kinds[kind];
      const isMark = name === "missing" || name === "reset";
      said.push(isMark ? `${WORDS[name]} at +${duration(begin)}` : `${WORDS[name]}: ${duration(end - begin)}`);
    }
    if (row[PHASES].some(isTick)) {
      const near = 5 * (until - from) / laneWidth();
      const at = timeAt(event);
      for (const [kind, begin] of row[PHASES].filter((each) => isTick(each) && Math.abs(each[1] - at) < near).slice(0, 8))
        said.push(`${WORDS[data.kinds[kind]]} at +${duration(begin)}`);
    }
    if (row[MISSING]) said.push(`${row[MISSING]} bytes are missing from the capture`);
    tip.textContent = said.join("\n");
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 16 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 8 : event.clientY + 16}px`;
  }

  function mark(begin, end) {
    const scale = laneWidth() / (until - from);
    find("axis").querySelector(".selection")?.remove();
    if (begin === null) return;
    const left = (Math.min(begin, end) - from) * scale;
    find("axis").append(drawing("rect", { class: "selection", x: left, width: Math.abs(end - begin) * scale, y: 0, height: 22 }));
  }

  function listen() {
    const rows = find("rows");
    find("filter").addEventListener("input", list);
    find("in").addEventListener("click", () => zoom(0.5));
    find("out").addEventListener("click", () => zoom(2));
    find("all").addEventListener("click", all);
    rows.addEventListener("scroll", draw);
    rows.addEventListener("dblclick", all);
    rows.addEventListener("mouseleave", () => { find("tip").hidden = true; });
    rows.addEventListener("mousemove", tell);
    rows.addEventListener("keydown", (event) => {
      const step = (until - from) / 8;
      const does = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": all,
        ArrowLeft: () => see(from - step, until - step), ArrowRight: () => see(from + step, until + step) }[event.key];
      if (does && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); does(); }
    });
    for (const place of [rows, find("axis")]) {
      place.addEventListener("mousedown", (event) => {
        if (event.button === 0 && (place !== rows || event.target.closest(".lane"))) dragged = timeAt(event);
      });
      place.addEventListener("wheel", (event) => {
        if (!event.shiftKey && !event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, timeAt(event));
      }, { passive: false });
    }
    addEventListener("mousemove", (event) => { if (dragged !== null) mark(dragged, timeAt(event)); });
    addEventListener("mouseup", (event) => {
      if (dragged === null) return;
      const begin = dragged;
      const end = timeAt(event);
      dragged = null;
      mark(null);
      if (Math.abs(end - begin) * laneWidth() / (until - from) > 4) see(Math.min(begin, end), Math.max(begin, end));
    });
    addEventListener("resize", draw);
    addEventListener("hashchange", follow);
  }

  // --- #44 is a connection, #44/1.5-3 what happened between 1.5 and 3 ms on it

  function follow() {
    const [place, view] = decodeURIComponent(location.hash.slice(1)).split(/\/(?=[\d.]+-)/);
    const number = data.connections.findIndex((each) => each.place === place);
    choose(Math.max(number, 0));
    const times = /^([\d.]+)-([\d.]+)$/.exec(view ?? "");
    if (number >= 0 && times) see(Number(times[1]) * 1e6, Number(times[2]) * 1e6);
  }

  function begin() {
    find("captures").textContent = data.captures.join(", ");
    for (const kind of data.kinds) {
      const sample = drawing("svg", { viewBox: "0 0 16 20" });
      sample.append(phase(kind, ["missing", "reset", "to_server", "to_client"].includes(kind) ? 8 : 0, kind === "reset" ? 8 : 16));
      find("legend").append(element("li", {}, sample, WORDS[kind]));
    }
    const omitted = data.ofConnections - data.connections.length;
    find("omitted").textContent = omitted > 0 ? `${omitted} more connections have fewer exchanges and are left out` : "";
    list();
    listen();
    follow();
  }

  begin();
})();
