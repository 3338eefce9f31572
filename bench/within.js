/** Waits for `work`, but ends the program with what hangs where it takes longer. */
export async function within(milliseconds, what, work) {
  const timer = setTimeout(() => {
    throw new Error(`${what} has not ended in ${milliseconds / 1000} s`);
  }, milliseconds);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
