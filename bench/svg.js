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

/** A whole drawing: `summary` is what is read aloud of it, `content` what stands below the heading and the note. */
export function pageOf({ width, height, fontSize, summary, style, heading, note, content }) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="${fontSize}" role="img">
<title>${escaped(summary)}</title>
${style}
<rect class="page" width="100%" height="100%"/>
<text x="16" y="26" font-size="16" font-weight="600">${escaped(heading)}</text>
<text x="16" y="46" class="note">${escaped(note)}</text>
${content.join("\n")}
</svg>
`;
}

/** The least of 1, 2, 5, 10, 20, … that is not below: how far the lines of a scale are apart. */
export function roundStep(least) {
  const decade = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * decade).find((step) => step >= least);
}
