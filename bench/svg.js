/**
 * The style of a drawing: a page, text, what is Countersign's own and what is not, for light and dark; and what is said of
 * further classes for both of them, for light, and for dark.
 */
export function styleOf({ both, light, dark }) {
  return `<style>
.page{fill:#fff}text{fill:#1d2430}.note{fill:#3d4450}.own{fill:#2f9e6e}.other{fill:#a9b2c0}${light}
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6eaf0}.note{fill:#b3bcc9}.own{fill:#3fb984}.other{fill:#5b6676}${dark}}
${both}
</style>`;
}

/** Text as it stands in SVG. */
export function escaped(text) {
  return text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
}
