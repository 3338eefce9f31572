/** Prints a table in Markdown, with a line before it. The first column is text, and so is what is no number. */
export function printTable(headings, rows) {
  const isNumber = headings.map((_, column) => rows.every((row) => /^[\d.]+$/.test(row[column])));
  const print = (cells) => console.log(`| ${cells.join(" | ")} |`);
  console.log();
  print(headings);
  print(isNumber.map((number) => (number ? "--:" : "---")));
  for (const row of rows) print(row);
}
