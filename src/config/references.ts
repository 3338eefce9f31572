/** Any `$word(`: `$env(…)` with its name and default, or something that is not known. */
const REFERENCE_PATTERN = /\$([A-Za-z]+)\((?:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,([^)]*))?\))?/g;
const PLANNED_FUNCTIONS = new Set(["user", "request", "param", "header", "query"]);

/** The variables of an environment by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Puts the values of variables in the place of `$env(NAME)` and `$env(NAME, default)`. What a variable held is
 * never scanned again.
 *
 * @param report told of each reference that cannot be resolved, and stays in the text
 */
export function resolveReferences(
  text: string,
  env: Environment,
  report: (message: string, reference: string) => void,
): string {
  return text.replace(REFERENCE_PATTERN, (whole: string, fn: string, name?: string, fallback?: string) => {
    if (PLANNED_FUNCTIONS.has(fn)) {
      report(`$${fn}(…) is not supported yet; the function known here is $env(NAME)`, whole);
    } else if (fn !== "env") {
      report(`unknown function $${fn}(…); the function known here is $env(NAME)`, whole);
    } else if (name === undefined) {
      report("expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _", whole);
    } else if (env[name] !== undefined) {
      return env[name];
    } else if (fallback !== undefined) {
      return fallback.trim();
    } else {
      report(
        `the environment variable ${name} is not set; set it, or give a default: $env(${name}, …)`,
        whole,
      );
    }
    return whole;
  });
}
