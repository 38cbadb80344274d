// The search of this site. Without this script all else works.
"use strict";

(function () {
  const input = document.getElementById("query");
  const results = document.getElementById("results");
  let index = null; // fetched when it is first needed

  window.bakeSearch = function (hits) {
    index = hits.map(function (h) {
      return { hit: h, title: h.t.toLowerCase(), page: (h.p || "").toLowerCase(), text: (h.x || "").toLowerCase() };
    });
    search();
  };

  // A page that was opened as a file may not fetch, but may have scripts.
  let asked = false;
  function load() {
    if (asked) return;
    asked = true;
    const script = document.createElement("script");
    script.src = "search-index.js";
    document.head.append(script);
  }

  // score says how well an entry fits one word; 0 means not at all.
  function score(e, word) {
    if (e.title === word || e.title === word + "()") return 100;
    if (e.title.split(/[^a-z0-9_]+/).includes(word)) return 40;
    if (e.title.startsWith(word)) return 30;
    if (e.title.includes(word)) return 15;
    if (e.page.includes(word)) return 5;
    return e.text.includes(word) ? 2 : 0;
  }

  function find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (const e of index) {
      let sum = 0;
      for (const word of words) {
        const s = score(e, word);
        if (s === 0) {
          sum = 0;
          break;
        }
        sum += s;
      }
      if (sum > 0) found.push({ e: e, sum: sum });
    }
    found.sort(function (a, b) { return b.sum - a.sum; });
    return found.slice(0, 30).map(function (f) { return f.e.hit; });
  }

  // excerpt returns the words around the first place that matches.
  function excerpt(text, query) {
    const word = query.toLowerCase().split(/\s+/).filter(Boolean)[0] || "";
    const at = Math.max(0, text.toLowerCase().indexOf(word) - 40);
    return (at > 0 ? "…" : "") + text.slice(at, at + 140) + (text.length > at + 140 ? "…" : "");
  }

  function search() {
    const query = input.value.trim();
    results.replaceChildren();
    results.hidden = query === "";
    if (query === "") return;
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    results.append(status);
    if (!index) {
      status.textContent = "Loading the index …";
      return;
    }
    const hits = find(query);
    status.textContent = hits.length === 0 ? "Nothing was found." : hits.length + (hits.length === 30 ? " best" : "") + " results";
    const list = document.createElement("ul");
    for (const h of hits) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = h.u;
      link.textContent = h.t;
      link.addEventListener("click", close);
      item.append(link);
      if (h.p) {
        const page = document.createElement("span");
        page.textContent = " in " + h.p;
        item.append(page);
      }
      if (h.x) {
        const text = document.createElement("p");
        text.textContent = excerpt(h.x.trim(), query);
        item.append(text);
      }
      list.append(item);
    }
    results.append(list);
  }

  function close() {
    input.value = "";
    search();
  }

  document.getElementById("search").hidden = false;
  input.addEventListener("focus", load);
  input.addEventListener("input", function () { load(); search(); });
  input.addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.isComposing) return;
    const first = results.querySelector("a");
    if (first) first.click();
  });
  document.addEventListener("keydown", function (event) {
    const typing = /^(input|textarea|select)$/i.test(event.target.tagName || "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    } else if (event.key === "Escape" && !results.hidden) {
      close();
      input.focus();
    }
  });
})();
