import { describe, expect, test } from "vitest";
import { basicOptionsOf, basicSection } from "../../src/config/authenticators/basic.ts";

const HASH = "$scrypt$ln=14,r=8,p=5$/+Ol7myt/SchnMwyuhxf6A$r8gU2qy8bInBfl22bmNf5X5L3NcA8vBA+WEs/guWBWw";
const user = (username: string, others = {}) => ({ username, passwordHash: HASH, ...others });

/** What is said of a section that cannot be used: where, and what. */
function problemsOf(section: object): [string, string][] {
  const checked = basicSection.safeParse({ type: "basic", ...section }, { reportInput: true });
  return (checked.error?.issues ?? []).map(({ path, message }) => [path.join("."), message]);
}

test("an authenticator of type basic has users, a file of them, or both", () => {
  const section = basicSection.parse({
    type: "basic",
    users: [user("ops", { claims: { role: "ops" } }), user("dev", { disabled: true })],
    htpasswd: "users.htpasswd",
  });
  expect(basicOptionsOf(section, "/etc/countersign")).toEqual({
    type: "basic",
    users: [
      { username: "ops", passwordHash: HASH, claims: { role: "ops" }, disabled: false },
      { username: "dev", passwordHash: HASH, claims: {}, disabled: true },
    ],
    htpasswd: "/etc/countersign/users.htpasswd",
    forwardCredential: false,
  });
  expect(problemsOf({ htpasswd: "users" })).toEqual([]);
});

describe("a section that cannot be used is refused", () => {
  const NONE = "expected the keys `users` or `htpasswd`: which users are known?";

  test.each([
    [{}, [["", NONE]]],
    [{ users: [user("")] }, [["users.0.username", "expected a string that is not empty"]]],
    [
      { users: [user("a:b")] },
      [["users.0.username", "expected a name without a colon: it ends where the password begins"]],
    ],
    [{ users: [user("a\tb")] }, [["users.0.username", "expected a name without control characters"]]],
    [{ users: [user("a"), user("b"), user("a")] }, [["users.2.username", "another user has this name"]]],
    [
      { users: [user("Zoë"), user("Zoë".normalize("NFD"))] },
      [["users.1.username", "another user has this name"]],
    ],
    [
      { users: [user("a", { passwordHash: 5 })] },
      [["users.0.passwordHash", "expected a string that countersign password hash prints"]],
    ],
    [
      { users: [user("a", { passwordHash: "hunter2" })] },
      [
        [
          "users.0.passwordHash",
          "expected a hash, not the password itself; countersign password hash makes one",
        ],
      ],
    ],
    [
      { users: [user("a", { passwordHash: HASH.replace("ln=14", "ln=24") })] },
      [
        [
          "users.0.passwordHash",
          "expected a scrypt hash that costs less to check: at most 128 MiB (ln=17,r=8) and ln=17,r=8,p=4; countersign password hash makes one",
        ],
      ],
    ],
  ])("%j", (section, problems) => {
    expect(problemsOf(section)).toEqual(problems);
  });
});
