// The page is whole without this: it adds a filter over the failed rows.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const [text, kind] = form.elements;
  const rows = [...document.querySelectorAll("#failed tbody tr")];
  const count = document.getElementById("shown");
  const show = () => {
    const wanted = text.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden =
        (kind.value && row.dataset.kind !== kind.value) ||
        !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
