import {
  REQUEST_FACTS,
  type Reference,
  TEMPLATE_FUNCTIONS,
  type TemplateFunction,
} from "../policy/template.ts";
import { nearest } from "./problems.ts";

/** Any `$word(…)`, also one that is never closed. */
const REFERENCE_PATTERN = /\$([A-Za-z]+)\((?:([^)]*)\))?/g;
const ENV_ARGUMENT = /^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,(.*))?$/s;
const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

/** The variables of an environment by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A reference, and how the file spells it. */
export interface WrittenReference extends Reference {
  readonly source: string;
}

/**
 * Takes a text apart into what it says and the references in it. `$env(NAME)` and `$env(NAME, default)` are replaced by
 * the value of the variable, which is never scanned again.
 *
 * @param report told of each reference that cannot be used; it stays in the text
 */
export function readReferences(
  text: string,
  env: Environment,
  report: (message: string, reference: string) => void,
): (string | WrittenReference)[] {
  const parts: (string | WrittenReference)[] = [];
  let said = "";
  let end = 0;
  for (const match of text.matchAll(REFERENCE_PATTERN)) {
    const [source, fn = "", argument] = match;
    said += text.slice(end, match.index);
    end = match.index + source.length;
    const reading = readReference(fn, argument, env);
    if (typeof reading === "string") said += reading;
    else if ("problem" in reading) {
      report(reading.problem, source);
      said += source;
    } else {
      if (said !== "") parts.push(said);
      said = "";
      parts.push({ ...reading, source });
    }
  }
  said += text.slice(end);
  return said === "" && parts.length > 0 ? parts : [...parts, said];
}

/** A text as it is written, without what stands in for a variable that is not set: that may be as secret as the variable. */
export function withoutFallbacks(text: string): string {
  return text.replaceAll(REFERENCE_PATTERN, (source: string, fn: string, argument = "") => {
    const [, name, fallback] = fn === "env" ? (ENV_ARGUMENT.exec(argument) ?? []) : [];
    return fallback === undefined ? source : `$env(${name}, …)`;
  });
}

function readReference(
  fn: string,
  argument: string | undefined,
  env: Environment,
): string | Reference | { readonly problem: string } {
  if (fn === "env") return readVariable(argument, env);
  if (!isTemplateFunction(fn)) {
    const known = [...TEMPLATE_FUNCTIONS, "env"];
    const meant = nearest(fn, known);
    const problem = `unknown function $${fn}(…); `;
    return {
      problem: `${problem}${meant ? `did you mean $${meant}(…)?` : `the functions are ${known.map((one) => `$${one}(…)`).join(", ")}`}`,
    };
  }
  // A function within a function is not known; nothing else has use for these.
  return readArgument(fn, /[$(]/.test(argument ?? "") ? "" : (argument?.trim() ?? ""));
}

function readVariable(argument: string | undefined, env: Environment): string | { readonly problem: string } {
  const [, name, fallback] = ENV_ARGUMENT.exec(argument ?? "") ?? [];
  if (name === undefined)
    return {
      problem: "expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _",
    };
  return (
    env[name] ??
    fallback?.trim() ?? {
      problem: `the environment variable ${name} is not set; set it, or give a default: $env(${name}, …)`,
    }
  );
}

function isTemplateFunction(fn: string): fn is TemplateFunction {
  return (TEMPLATE_FUNCTIONS as readonly string[]).includes(fn);
}

function readArgument(fn: TemplateFunction, argument: string): Reference | { readonly problem: string } {
  if (argument.includes(","))
    return { problem: `only $env(…) takes a default; a claim whose $${fn}(…) is missing is left out` };
  switch (fn) {
    case "request": {
      if ((REQUEST_FACTS as readonly string[]).includes(argument)) return { fn, argument };
      const meant = nearest(argument, REQUEST_FACTS);
      const problem = `expected $request(…) with one of ${REQUEST_FACTS.join(", ")}`;
      return { problem: meant ? `${problem}; did you mean ${meant}?` : problem };
    }
    case "user":
      return argument === ""
        ? {
            problem:
              "expected $user(…) with the name of a claim, such as $user(sub) or $user(address.country)",
          }
        : { fn, argument };
    case "param":
      return /^[A-Za-z_$][\w$]*$/.test(argument)
        ? { fn, argument }
        : { problem: "expected $param(…) with a name from the path, such as $param(id) for /orders/:id" };
    case "header":
      return FIELD_NAME.test(argument)
        ? { fn, argument: argument.toLowerCase() }
        : { problem: "expected $header(…) with the name of a field, such as $header(X-Region)" };
    case "query":
      return argument === ""
        ? { problem: "expected $query(…) with the name of a parameter, such as $query(page)" }
        : { fn, argument };
  }
}
