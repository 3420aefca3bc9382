// Sets the theme before the first paint. Without a choice the system's holds.
(() => {
  const chosen = localStorage.getItem("glossator-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
