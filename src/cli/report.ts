/** Says on standard error what happened, and when. */
export function report(message: string): void {
  console.error(`${new Date().toISOString()} ${message}`);
}
