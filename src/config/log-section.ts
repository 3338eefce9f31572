import { z } from "zod";
import { LOG_FORMATS, LOG_LEVELS, SUBJECT_FORMS } from "../observability/log-options.ts";
import { section } from "./section.ts";
import { word } from "./values.ts";

const SHARE_EXPECTED = "expected a number from 0 for none to 1 for all";

/** `log` in the file. */
export const logSection = section({
  level: word(LOG_LEVELS)
    .default("info")
    .describe("What is written to standard error: all from this level up."),
  format: word(LOG_FORMATS)
    .default("auto")
    .describe(
      "`json` is an object a line, `pretty` is text, and `auto` is text on a terminal and JSON elsewhere.",
    ),
  subject: word(SUBJECT_FORMS)
    .default("hash")
    .describe("What is logged of who called: the `sub` as it is, a hash of it, or nothing."),
  sampleSuccess: z
    .number({ error: SHARE_EXPECTED })
    .min(0, SHARE_EXPECTED)
    .max(1, SHARE_EXPECTED)
    .default(1)
    .describe("The share of the requests that went well which is logged. All others always are."),
});
