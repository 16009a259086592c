"use strict";
(() => {
  const body = document.querySelector("tbody");
  const headings = [...document.querySelectorAll("th")];
  const names = new Intl.Collator("en", { numeric: true });

  // Numbers by value, text in natural order; rows without a value stay at the end.
  function compare(first, second, direction) {
    if (first === "" || second === "") {
      return (first === "") - (second === "");
    }
    const numbers = [Number(first), Number(second)];
    const difference = numbers.some(Number.isNaN)
      ? names.compare(first, second)
      : numbers[0] - numbers[1];
    return direction * difference;
  }

  function sortBy(heading) {
    const column = headings.indexOf(heading);
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const text = (row) => row.cells[column].firstChild?.textContent.trim() ?? "";
    const rows = [...body.rows].map((row) => [text(row), row]);
    rows.sort((a, b) => compare(a[0], b[0], ascending ? 1 : -1));
    body.append(...rows.map((pair) => pair[1]));
  }

  headings.forEach((heading) => {
    heading.querySelector("button")?.addEventListener("click", () => sortBy(heading));
  });

  const dialog = document.querySelector("dialog");
  const large = dialog.querySelector("img");
  let shown = null;

  function show(button) {
    const thumbnail = button.querySelector("img");
    shown = button;
    // the page may have been sent without the pictures beside it
    large.onerror = () => {
      large.onerror = null;
      large.src = thumbnail.src;
    };
    large.src = button.dataset.picture;
    large.alt = thumbnail.alt;
    dialog.querySelector("p").textContent = thumbnail.alt;
    if (!dialog.open) {
      dialog.showModal();
    }
  }

  body.addEventListener("click", (event) => {
    const button = event.target.closest(".thumbnail");
    if (button) {
      show(button);
    }
  });

  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) {
      dialog.close();
    }
  });

  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      const buttons = [...body.querySelectorAll(".thumbnail")];
      show(buttons.at((buttons.indexOf(shown) + step) % buttons.length));
    }
  });
})();
