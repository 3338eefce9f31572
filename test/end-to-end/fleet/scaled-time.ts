/** A clock that is right at `base`, and runs `factor` times as fast from there on. Every process of a fleet goes by the same. */
export interface ScaledTime {
  /** Milliseconds since the epoch, whole seconds. */
  readonly base: number;
  readonly factor: number;
}

/** Begins at this second. */
export function startScaledTime(factor: number): ScaledTime {
  return { base: Math.floor(Date.now() / 1000) * 1000, factor };
}

/** Milliseconds since the epoch. */
export function scaledNow({ base, factor }: ScaledTime): number {
  return base + (Date.now() - base) * factor;
}

/** How many milliseconds pass while the scaled clock goes on by so many seconds. */
export function realMilliseconds(seconds: number, { factor }: ScaledTime): number {
  return (seconds * 1000) / factor;
}
