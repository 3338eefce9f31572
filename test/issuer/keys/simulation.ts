/**
 * A sidecar, its disk, a second process and many verifiers over simulated time. True time goes on in steps; the wall
 * clock, which is all that the sidecar sees, is up to an hour off and jumps.
 *
 * A real sidecar looks at its ring every half minute. Here it does so only for a while after each event, each moment
 * that the ring gives a meaning to, and each end of an outage; what is left out would change nothing, because what a
 * tick does follows from the ring and the clock alone. Looks at random between check that.
 */

import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import type { SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import type { TokenRequest } from "../../../src/issuer/claims-set.ts";
import type { IssuerKeys } from "../../../src/issuer/keys/key-set.ts";
import { rotateKeys } from "../../../src/issuer/keys/manage.ts";
import { openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import {
  goneAt,
  isRotationDue,
  isSameLine,
  type KeyNeed,
  type KeyPurpose,
  lineOf,
  pendingSecondsOf,
  type Rotation,
  rotationDueAt,
  TICK_SECONDS,
} from "../../../src/issuer/keys/ring.ts";
import type { PublicJwk } from "../../../src/issuer/keys/signing-key.ts";
import { createTokens } from "../../../src/issuer/tokens.ts";
import { createAgenda } from "./agenda.ts";
import { createFailingDisk, type ProcessDisk } from "./failing-disk.ts";
import { createRandom } from "./random.ts";
import { type Clocks, createVerifier, type Verifier } from "./verifier.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const HOUR_SECONDS = 3600;
const DAY_SECONDS = 24 * HOUR_SECONDS;

const START = Date.UTC(2026, 0, 1);
const MOST_OFFSET = HOUR;
/** The difference of two readings of a clock that is an hour fast and then an hour slow. */
const CLOCK_SECONDS = 2 * HOUR_SECONDS;
const LONGEST_LIFETIME_SECONDS = 3 * DAY_SECONDS;
const LONGEST_ROTATION_SECONDS = 40 * DAY_SECONDS;
const LONGEST_OUTAGE = DAY;
const LONGEST_DOWN = 30 * HOUR;
/** The retirement margin is 5 min beside what it allows for the clock. */
const LONGEST_TOLERANCE_SECONDS = 4 * 60;

const MEAN_TIME_BETWEEN_EVENTS = 10 * HOUR;
const VERIFIERS = 20;
/** Ticks after whatever happens. */
const TICKS_OF_A_BURST = 5;
/** Three loads and at most two saves. */
const OPERATIONS_OF_A_TICK = 5;
/** One token in so many is made by the issuer, and verified with jose. */
const TOKENS_PER_REAL_TOKEN = 500;

/** A configuration that `sidecar.yaml` may hold. */
interface Settings {
  readonly rotation: Rotation & { readonly everySeconds: number };
  readonly longestLifetimeSeconds: number;
  readonly jwksMaxAgeSeconds: number;
}

interface Process {
  readonly keys: IssuerKeys;
  readonly disk: ProcessDisk;
  readonly settings: Settings;
}

interface Token {
  readonly kid: string;
  /** True time. */
  readonly issuedAt: number;
  /** `iat` and `exp`, by the wall, in seconds. */
  readonly iat: number;
  readonly exp: number;
  /** Where it is not only a name and times. */
  readonly real?: RealToken;
}

interface RealToken {
  readonly jwt: string;
  readonly verifiedWith: WeakSet<readonly PublicJwk[]>;
}

/** What came of a simulation. */
export interface Outcome {
  /** Each token that a verifier did not find the key of, and when. */
  readonly refused: readonly string[];
  /** What else was not as it must be. */
  readonly problems: readonly string[];
  /** How often a verifier was asked. */
  readonly checks: number;
  /** How often a token was verified with jose. */
  readonly verified: number;
  /** How many keys have signed, and how many the settings ask for, both of the first need. */
  readonly signers: number;
  readonly expectedSigners: number;
  /** The largest JWK Set, and the last. */
  readonly mostPublished: number;
  readonly lastPublished: number;
  /** How often each kind of event happened. */
  readonly events: Readonly<Record<string, number>>;
}

export interface SimulationOptions {
  readonly seed: number;
  readonly days?: number;
  /** The lines of keys that there are. Default: one. */
  readonly lines?: readonly (readonly [KeyPurpose, SigningAlgorithm])[];
  /** For how long the most patient verifier keeps the JWK Set; what is configured allows for it. Default: a day. */
  readonly longestCacheSeconds?: number;
  /** Ends at the first token that is refused. */
  readonly stopAtFirst?: boolean;
}

/** Runs the keys of one sidecar through everything that may happen to them. */
export async function simulate(options: SimulationOptions): Promise<Outcome> {
  const { seed, days = 400, lines = [["token", "EdDSA"]], stopAtFirst = false } = options;
  const { longestCacheSeconds = DAY_SECONDS } = options;
  // Twice: the sidecar's clock may be wrong, and so may that by which a verifier keeps its JWK Set.
  const leastOverlapSeconds = longestCacheSeconds + 2 * CLOCK_SECONDS;
  const random = createRandom(seed);
  const end = START + days * DAY;
  let time = START;
  let offset = randomOffset();
  const clocks: Clocks = { trueTime: () => time, wallTime: () => time + offset };
  const now = clocks.wallTime;
  const disk = createFailingDisk(clocks.trueTime);
  const agenda = createAgenda();

  let settings: Settings = {
    rotation: { everySeconds: 30 * DAY_SECONDS, overlapSeconds: leastOverlapSeconds },
    longestLifetimeSeconds: HOUR_SECONDS,
    jwksMaxAgeSeconds: 300,
  };
  let sidecar: Process | undefined;
  let downUntil = START;
  const verifiers: Verifier[] = [];
  const live = new Set<Token>();

  const refused: string[] = [];
  const problems = new Set<string>();
  const signers = new Set<string>();
  const events: Record<string, number> = {};
  let verifying: Promise<void>[] = [];
  let checks = 0;
  let verified = 0;
  let issued = 0;
  let expectedSigners = 1;
  let mostPublished = 0;

  function randomOffset(): number {
    return random.chance(0.6)
      ? random.pick([-MOST_OFFSET, MOST_OFFSET])
      : random.integer(-MOST_OFFSET, MOST_OFFSET);
  }

  function needsOf({ longestLifetimeSeconds }: Settings): KeyNeed[] {
    return lines.map(([purpose, algorithm]) => ({ purpose, algorithm, longestLifetimeSeconds }));
  }

  function randomSettings(): Settings {
    const overlapSeconds = random.pick([
      leastOverlapSeconds,
      random.integer(leastOverlapSeconds, 3 * leastOverlapSeconds),
    ]);
    const leastEvery = pendingSecondsOf({ everySeconds: undefined, overlapSeconds });
    return {
      rotation: {
        everySeconds: random.pick([leastEvery, random.magnitude(leastEvery, LONGEST_ROTATION_SECONDS)]),
        overlapSeconds,
      },
      longestLifetimeSeconds: random.magnitude(1, LONGEST_LIFETIME_SECONDS),
      jwksMaxAgeSeconds: random.magnitude(1, longestCacheSeconds),
    };
  }

  function problem(what: string): void {
    problems.add(`seed ${seed}, day ${((time - START) / DAY).toFixed(3)}: ${what}`);
  }

  // The sidecar.

  /** Does something that the process may crash in. */
  async function within(process: Process, work: Promise<unknown>): Promise<void> {
    await Promise.race([work, process.disk.crashed]);
    if (process.disk.isCrashed() && sidecar === process) goDown(randomDownTime());
  }

  async function open(wanted: Settings): Promise<Process | undefined> {
    const process = disk.openFor("sidecar");
    try {
      const { rotation } = wanted;
      const { store } = process;
      const keys = await openManagedKeys({ store, rotation, needs: needsOf(wanted), now, onEvent: () => {} });
      return { keys, disk: process, settings: wanted };
    } catch {
      return undefined;
    }
  }

  function randomDownTime(): number {
    return random.chance(0.5) ? random.integer(0, MINUTE) : random.magnitude(SECOND, LONGEST_DOWN);
  }

  function goDown(milliseconds: number): void {
    // Of one that has crashed this never comes to an end.
    void sidecar?.keys.close();
    sidecar = undefined;
    downUntil = time + milliseconds;
    agenda.add(downUntil, burst);
  }

  /** What the sidecar does every half minute, or its supervisor where it is down. */
  async function tick(): Promise<void> {
    if (sidecar) return within(sidecar, sidecar.keys.refresh());
    if (time >= downUntil) sidecar = await open(settings);
  }

  /** The new one is opened before the old one is closed, and where that fails the old one goes on. */
  async function reload(): Promise<void> {
    const wanted = randomSettings();
    if (!sidecar) {
      settings = wanted;
      return;
    }
    const next = await open(wanted);
    if (!next) return;
    const before = sidecar;
    sidecar = next;
    settings = wanted;
    await within(before, before.keys.close());
  }

  /** As `countersign keys rotate` would. */
  async function rotateByHand(): Promise<void> {
    const { store } = disk.openFor("another process");
    try {
      await rotateKeys(store, [random.pick(needsOf(settings))], now());
    } catch {
      // The disk fails, or a successor is waiting; the operator is told.
    }
  }

  // Tokens and verifiers.

  function fetchJwks() {
    return (
      sidecar && {
        keys: sidecar.keys.current().published,
        maxAgeSeconds: sidecar.settings.jwksMaxAgeSeconds,
      }
    );
  }

  /** A backend that starts now; one that is there already ends. */
  function startVerifier(): void {
    const measuresBy = random.pick(["trueTime", "wallTime"] as const);
    const cacheSeconds = random.pick([
      0,
      longestCacheSeconds,
      longestCacheSeconds,
      random.magnitude(1, longestCacheSeconds),
      undefined,
    ]);
    const verifier = createVerifier({
      clocks,
      // What obeys max-age goes by true time, as it may be as long as the longest cache.
      measuresBy: cacheSeconds === undefined ? "trueTime" : measuresBy,
      cacheSeconds,
      toleranceSeconds: random.pick([0, 60, LONGEST_TOLERANCE_SECONDS]),
      fetchJwks,
    });
    verifier.keys();
    if (verifiers.length === VERIFIERS) verifiers[random.integer(0, VERIFIERS - 1)] = verifier;
    else verifiers.push(verifier);
  }

  /** Whether any clock says that it has not ended. */
  function isUnexpired({ issuedAt, iat, exp }: Token, toleranceSeconds: number): boolean {
    const left = (exp - iat + toleranceSeconds) * SECOND;
    return time < issuedAt + left || now() < (exp + toleranceSeconds) * SECOND;
  }

  function check(token: Token, verifier: Verifier): void {
    if (!isUnexpired(token, verifier.toleranceSeconds)) return;
    const keys = verifier.keys();
    // It waits for the sidecar, and asks again then.
    if (!keys) return;
    checks++;
    if (!kidsOf(keys).has(token.kid)) refuse(token, verifier);
    else if (token.real && !token.real.verifiedWith.has(keys))
      verifying.push(verifyWithJose(token.real, token.iat, keys));
  }

  function refuse(token: Token, verifier: Verifier): void {
    const age = (time - token.issuedAt) / SECOND;
    refused.push(
      `seed ${seed}, day ${((time - START) / DAY).toFixed(3)}: a token of ${token.exp - token.iat} s is refused ` +
        `${age} s after it was signed with ${token.kid} by ${verifier.describe()}`,
    );
  }

  /** To be done once for each JWK Set. */
  async function verifyWithJose({ jwt, verifiedWith }: RealToken, iat: number, keys: readonly PublicJwk[]) {
    verifiedWith.add(keys);
    const jwks = createLocalJWKSet({ keys: keys.map((key) => ({ ...key })) });
    await jwtVerify(jwt, jwks, { issuer: ISSUER, currentDate: new Date(iat * SECOND) });
    verified++;
  }

  function checkEverywhere(token: Token): void {
    for (const verifier of verifiers) check(token, verifier);
  }

  function randomLifetime(): number {
    const { longestLifetimeSeconds } = settings;
    return random.pick([
      longestLifetimeSeconds,
      longestLifetimeSeconds,
      random.magnitude(1, longestLifetimeSeconds),
      // `expiresIn` of one token may be longer than anything that is configured.
      random.magnitude(1, LONGEST_LIFETIME_SECONDS),
    ]);
  }

  async function issue(need: KeyNeed): Promise<void> {
    const token = issued++ % TOKENS_PER_REAL_TOKEN === 0 ? await realToken(need) : await plainToken(need);
    if (!token) return;
    live.add(token);
    checkEverywhere(token);
    const lifetime = (token.exp - token.iat) * SECOND;
    const later = () => checkEverywhere(token);
    agenda.add(time + random.unit() * lifetime, later);
    // The last moments: without tolerance and with it, by true time and by the wall.
    for (const toleranceSeconds of [0, LONGEST_TOLERANCE_SECONDS]) {
      agenda.add(token.issuedAt + lifetime + toleranceSeconds * SECOND - 1, later);
      agenda.add((token.exp + toleranceSeconds) * SECOND - offset - 1, later);
    }
    const lastMoment = Math.max(token.issuedAt + lifetime, token.exp * SECOND + MOST_OFFSET);
    agenda.add(lastMoment + LONGEST_TOLERANCE_SECONDS * SECOND, () => {
      live.delete(token);
    });
  }

  /** As `tokens.ts` does, without a signature. */
  async function plainToken({ purpose, algorithm }: KeyNeed): Promise<Token | undefined> {
    const lifetimeSeconds = randomLifetime();
    const active = () => sidecar?.keys.current().activeKey(purpose, algorithm);
    while (sidecar && lifetimeSeconds > (active()?.longestLifetimeSeconds ?? 0)) {
      let isKept = true;
      const keeping = sidecar.keys.keepFor(purpose, algorithm, lifetimeSeconds).catch(() => {
        isKept = false;
      });
      await within(sidecar, keeping);
      if (!isKept) return undefined;
    }
    const kid = active()?.key.kid;
    const iat = Math.floor(now() / SECOND);
    return kid === undefined ? undefined : { kid, issuedAt: time, iat, exp: iat + lifetimeSeconds };
  }

  async function realToken({ purpose, algorithm }: KeyNeed): Promise<Token | undefined> {
    if (!sidecar) return undefined;
    const tokens = createTokens({ url: ISSUER, keys: sidecar.keys, now });
    const request: TokenRequest = {
      subject: "simulation",
      audience: undefined,
      lifetimeSeconds: randomLifetime(),
      additionalClaims: {},
      notBefore: false,
      tokenId: false,
      reuse: false,
      algorithm,
      purpose,
    };
    let jwt: string | undefined;
    const signing = Promise.resolve()
      .then(() => tokens.tokenFor(request))
      .then((signed) => {
        jwt = signed;
      })
      .catch(() => {});
    await within(sidecar, signing);
    if (jwt === undefined) return undefined;
    const { iat = 0, exp = 0 } = decodeJwt(jwt);
    return {
      kid: String(decodeProtectedHeader(jwt).kid),
      issuedAt: time,
      iat,
      exp,
      real: { jwt, verifiedWith: new WeakSet() },
    };
  }

  // What is looked at.

  /** A moment at which something may go wrong: sign, check, and let new verifiers begin. */
  async function probe(): Promise<void> {
    inspectKeySet();
    startVerifier();
    await issue(random.pick(needsOf(settings)));
    for (const token of live) check(token, random.pick(verifiers));
    inspectKeySet();
  }

  function inspectKeySet(): void {
    if (!sidecar) return;
    const keySet = sidecar.keys.current();
    const kids = keySet.published.map(({ kid }) => kid);
    const signing = lines.map(([purpose, algorithm]) => keySet.activeKey(purpose, algorithm)?.key.kid);
    if (signing[0] !== undefined) signers.add(signing[0]);
    if (signing.some((kid, index) => kid === undefined || kid !== kids[index]))
      problem(`the keys that sign, ${signing}, are not the first of ${kids}`);
    if (new Set(kids).size !== kids.length) problem(`published twice: ${kids}`);
    mostPublished = Math.max(mostPublished, kids.length);
  }

  /** In a ring that a tick has seen through, each key ends when its successor begins, and the last has no end. */
  function inspectRing(): void {
    if (!sidecar || time < disk.failsUntil()) return;
    for (const need of needsOf(settings)) {
      const line = disk.ring().keys.filter((entry) => isSameLine(lineOf(entry), need));
      const spans = line.map(({ activatesAt, retiresAt }) => `${activatesAt}-${retiresAt}`).join(" ");
      if (line.filter(({ retiresAt }) => retiresAt === undefined).length !== 1)
        problem(`not one key without an end: ${spans}`);
      if (line.some(({ activatesAt }) => activatesAt === undefined))
        problem(`a key without a time: ${spans}`);
      if (isRotationDue(disk.ring(), need, settings.rotation, now())) problem("a rotation is overdue");
    }
  }

  async function idleTick(): Promise<void> {
    const version = disk.version();
    const isQuiet = sidecar && time >= disk.failsUntil() && disk.isRecovered() && time > lastTick;
    await tick();
    if (isQuiet && sidecar && disk.version() !== version)
      problem("a tick between events has changed the ring");
  }

  let lastTick = START;
  /** Whatever happens, the next ticks are looked at closely. */
  async function burst(): Promise<void> {
    await probe();
    const first = time + random.integer(0, TICK_SECONDS * SECOND);
    lastTick = first + (TICKS_OF_A_BURST - 1) * TICK_SECONDS * SECOND;
    for (let count = 0; count < TICKS_OF_A_BURST; count++)
      agenda.add(first + count * TICK_SECONDS * SECOND, async () => {
        await tick();
        if (time >= lastTick) inspectRing();
        await probe();
      });
  }

  /** The next moment that the ring or the disk gives a meaning to, and the last millisecond before it. */
  function nextMoment(): number {
    let next = Number.POSITIVE_INFINITY;
    const consider = (wallTime: number | undefined) => {
      if (wallTime === undefined) return;
      for (const moment of [wallTime - offset - 1, wallTime - offset])
        if (moment > time && moment < next) next = moment;
    };
    for (const entry of disk.ring().keys) {
      consider(entry.activatesAt);
      consider(entry.retiresAt);
      consider(goneAt(entry));
      consider(rotationDueAt(entry, settings.rotation));
    }
    consider(disk.failsUntil() + offset);
    return next;
  }

  // What happens.

  function jumpClock(): void {
    offset = randomOffset();
  }

  const EVENTS = {
    jump: jumpClock,
    jumpBack() {
      offset = -MOST_OFFSET;
    },
    outage() {
      if (disk.isRecovered())
        disk.fail(random.pick(["loads", "saves", "both"]), random.magnitude(MINUTE, LONGEST_OUTAGE));
    },
    outageInSave() {
      const saves = random.integer(0, 1);
      disk.failInSave(saves, random.magnitude(SECOND, LONGEST_OUTAGE), random.chance(0.5));
    },
    restart: () => goDown(randomDownTime()),
    crash() {
      sidecar?.disk.crash({ at: "next operation", stores: false });
    },
    crashInSave() {
      sidecar?.disk.crash({ at: { saves: random.integer(0, 1) }, stores: random.chance(0.5) });
    },
    reload,
    rotateByHand,
    rotateByHandWithinTick() {
      disk.interruptAfter(random.integer(0, OPERATIONS_OF_A_TICK), rotateByHand);
    },
    jumpWithinTick() {
      disk.interruptAfter(random.integer(0, OPERATIONS_OF_A_TICK), async () => jumpClock());
    },
  };
  type EventName = keyof typeof EVENTS;
  const NAMES = [...(Object.keys(EVENTS) as EventName[]), "jump", "jump", "reload"] as const;

  async function happen(): Promise<void> {
    const name = random.pick(NAMES);
    events[name] = (events[name] ?? 0) + 1;
    await EVENTS[name]();
    await burst();
    scheduleEvent();
  }

  function scheduleEvent(): void {
    const pause = -Math.log(1 - random.unit()) * MEAN_TIME_BETWEEN_EVENTS;
    const moment = nextMoment();
    // More of them while something is about to change.
    const at =
      random.chance(0.4) && moment < time + 4 * MEAN_TIME_BETWEEN_EVENTS
        ? moment + random.integer(-2 * MINUTE, 2 * MINUTE)
        : time + pause;
    agenda.add(Math.max(at, time + 1), happen);
    agenda.add(time + random.unit() * pause, idleTick);
  }

  agenda.add(START, burst);
  scheduleEvent();
  while (!(stopAtFirst && refused.length > 0)) {
    const moment = nextMoment();
    const next = Math.min(moment, agenda.next());
    if (next >= end) break;
    expectedSigners += (next - time) / SECOND / settings.rotation.everySeconds;
    time = next;
    await (agenda.next() === next ? agenda.take()?.() : burst());
    await Promise.all(verifying);
    verifying = [];
  }
  const lastPublished = sidecar?.keys.current().published.length ?? 0;
  void sidecar?.keys.close();
  return {
    refused,
    problems: [...problems],
    checks,
    verified,
    signers: signers.size,
    expectedSigners,
    mostPublished,
    lastPublished,
    events,
  };
}

const ISSUER = "https://issuer.example";

const kidsByKeys = new WeakMap<readonly PublicJwk[], ReadonlySet<string>>();

/** The kids of a JWK Set that never changes. */
function kidsOf(keys: readonly PublicJwk[]): ReadonlySet<string> {
  let kids = kidsByKeys.get(keys);
  if (!kids) {
    kids = new Set(keys.map(({ kid }) => kid));
    kidsByKeys.set(keys, kids);
  }
  return kids;
}
