"""A file with dozens of mistakes: all of them are reported, in the order of the file, each with its path and line, and no key is quoted."""

import textwrap
from datetime import date

import pytest

from extproc.registry.load import RegistryError, parse_registry

DAY = date(2026, 10, 20)
# looks like a key, and is written in two parts so that no scanner takes this file for a leak
KEY = "sk-proj-" + "Zk3v9QmWx81LpTn5RbYc7Ua2"

BAD = f"""\
version: "1"
identity: {{tenant: {{header: x-llm-tenant}}}}
provider: {{}}
providers:
  Open AI: {{kind: openai, credential: {{env: OPENAI_API_KEY}}}}
  openai:
    kind: opnai
    api_key: {KEY}
  claude:
    kind: anthropic
    credential: {KEY}
  both:
    kind: openai
    credential: {{env: A}}
    credentials: {{a: {{env: A}}}}
  pool:
    kind: openai
    credentials:
      A: {{env: 1A}}
      b: {{file: a, env: b}}
      c: {{env: {KEY}}}
      d: {{file: ~/key}}
      e: {{aws: default}}
  nokey: {{kind: gemini}}
  local:
    kind: openai-compatible
    data_stays_in: [no, EU, eu, eu]
    quirks: [max_token]
  bedrock: {{kind: bedrock, region: eu-central-1}}
  web: {{kind: openai-compatible, url: "ftp://host/v1"}}
  ok: {{kind: openai-compatible, url: "http://host/v1"}}
targets:
  gpt-4o: {{provider: ok, model: gpt-4o}}
  ext_proc: {{provider: ok, model: a}}
  "a@b": {{provider: oky, model: "gpt-*"}}
  broken:
    provider: openai
    model: 4.1
    capabilities: {{visoin: false, tools: off}}
    usd_per_million_tokens: {{input: -1, output: free}}
    context_window: 8k
    max_output_tokens: true
    set_headers:
      Authorization: {KEY}
      x-llm-target: a
      x-one: "a\\r\\nb"
      x-two: 2
    envoy: []
    deployment: prod
  gpt-4o: {{provider: ok, model: gpt-4o}}
defaults:
  timeouts: {{unary_attempt: 120, first_token: 390s, stall: 0s, deadline: 1 minute, total: 4s}}
  attempts: {{total: 0, same_target: -1, wait_at_most: 5}}
  commit: first-token
  strict: yes
models:
  on: {{targets: [gpt-4o]}}
  chat:
    aliases: [gpt-4o, gpt-4o, "gpt-*", "a b", 4]
    targets:
      - {{gpt-4o: 95, gpt-4: 5}}
      - gpt-4o
      - {{broken: 0}}
      - [gpt-4o]
    rank_by: latncy
    rules: [{{when: {{prompt_token: 5}}, prefer: [gpt-4]}}]
  "gpt-*": {{targets: []}}
  empty: {{}}
  nothing:
limits: [{{for: {{user: "*"}}, rpm: 5}}]
"""

EXPECTED = """\
1: version: this program reads version 1 of the registry file
2: identity.tenant.header: the header "x-llm-tenant" cannot be taken: it steers this server
3: provider: is not a known key; known here: version, identity, providers, targets, defaults, models, tenants, limits, state, passthrough
5: providers."Open AI": "Open AI" is no name for a provider: it must be 1 to 63 lower-case letters, digits, dots, dashes or underscores
7: providers.openai.kind: no provider kind "opnai"
8: providers.openai.api_key: is not a known key
11: providers.claude.credential: must say where the key is, not what it is
15: providers.both.credentials: stands beside `credential`
19: providers.pool.credentials.A: "A" is no name for a credential
19: providers.pool.credentials.A.env: is not the name of an environment variable
20: providers.pool.credentials.b: needs exactly one of `file`, `env`, `aws`, `google` and `entra`
21: providers.pool.credentials.c.env: looks like a key
22: providers.pool.credentials.d.file: is not the path of a file that could be read
23: providers.pool.credentials.e.aws: the kind openai takes no such credential; these do: bedrock
24: providers.nokey: has no credential, and generativelanguage.googleapis.com serves nobody without one
25: providers.local: the kind openai-compatible needs `url`
27: providers.local.data_stays_in[0]: "no" is a boolean to YAML 1.1 and a word to YAML 1.2
27: providers.local.data_stays_in[1]: "EU" is no region
27: providers.local.data_stays_in[3]: "eu" is listed twice
28: providers.local.quirks[0]: no quirk "max_token" (did you mean "max_tokens"?)
29: providers.bedrock: has no credential, and the kind bedrock serves nobody without one
30: providers.web.url: must start with https:// or http://
34: targets.ext_proc: "ext_proc" is the name of a cluster in Envoy's own configuration
35: targets."a@b": "a@b" is no name for a target
35: targets."a@b".provider: no provider named "oky"
35: targets."a@b".model: "gpt-*" is no model name
38: targets.broken.model: must be the provider's name for a model, is "4.1"
39: targets.broken.capabilities.visoin: no capability "visoin" (did you mean "vision"?)
39: targets.broken.capabilities.tools: must be true or false, is "off"
40: targets.broken.usd_per_million_tokens.input: must be from 0 to 100000 US dollars per million tokens, is -1
40: targets.broken.usd_per_million_tokens.output: must be a price in US dollars per million tokens, is "free"
41: targets.broken.context_window: must be a whole number of tokens from 1 to 100000000, is "8k"
42: targets.broken.max_output_tokens: must be a whole number of tokens from 1 to 100000000, is "true"
44: targets.broken.set_headers.Authorization: the header "Authorization" cannot be set: Envoy sets the credential
44: targets.broken.set_headers.Authorization: looks like a key
45: targets.broken.set_headers.x-llm-target: the header "x-llm-target" cannot be set: it steers this server
46: targets.broken.set_headers.x-one: is no header value
47: targets.broken.set_headers.x-two: must be text, is "2"
48: targets.broken.envoy: must be a mapping of Envoy cluster settings, is a list
50: targets.gpt-4o: is set twice, first in line 33
52: defaults.timeouts.unary_attempt: must be a duration with its unit, such as 20s, 500ms or 2m, is "120"
52: defaults.timeouts.first_token: first_token (390s) is longer than the deadline over the whole chain (300s)
52: defaults.timeouts.stall: must be more than 0s and at most 24h, is 0s
52: defaults.timeouts.deadline: must be a duration with its unit, such as 20s, 500ms or 2m, is "1 minute"
52: defaults.timeouts.total: is not a known key
53: defaults.attempts.total: must be a whole number from 1 to 10, is "0"
53: defaults.attempts.same_target: must be a whole number from 0 to 9, is "-1"
53: defaults.attempts.wait_at_most: must be a duration with its unit
54: defaults.commit: must be one of first_token, complete, is "first-token"
55: defaults.strict: must be true or false, is "yes"
57: models: the key "on" is a boolean to YAML 1.1, not text
59: models.chat.aliases[1]: "gpt-4o" is already a name of models."chat", line 59
59: models.chat.aliases[2]: "gpt-*" is already a name of models."gpt-*", line 67
59: models.chat.aliases[3]: "a b" is no model name
59: models.chat.aliases[4]: must be a name that clients ask for, is "4"
61: models.chat.targets[0].gpt-4: no target named "gpt-4"
62: models.chat.targets[1]: the target "gpt-4o" is listed twice in this model, first in line 61
63: models.chat.targets[2].broken: must be a weight above 0 and at most 1000000, is 0
64: models.chat.targets[3]: must be a target, or a mapping from targets to weights, is a list
65: models.chat.rank_by: must be order, cost, latency, bandit, or weights such as {latency: 2, cost: 1}, is "latncy"
66: models.chat.rules[0].when.prompt_token: no signal "prompt_token"
66: models.chat.rules[0].prefer[0]: no target named "gpt-4"
67: models."gpt-*".targets: must be a list of targets, in the order of fallback, is an empty list
68: models.empty: needs `targets`
69: models.nothing: must be a mapping such as {targets: [gpt-4o]}, is empty
70: limits[0].for.user: a limit for it needs to know a request's user, and `identity` does not say where it comes from
70: limits[0].rpm: is not a known key
"""


@pytest.fixture(scope="module")
def refusal() -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        parse_registry(BAD.encode(), "registry.yaml", DAY)
    return caught.value


def test_every_mistake_with_its_line_and_path(refusal: RegistryError) -> None:
    found = str(refusal).splitlines()
    expected = ["registry.yaml:" + line for line in EXPECTED.splitlines()]
    assert len(found) == len(refusal.problems)
    for line, start in zip(found, expected, strict=False):
        assert line.startswith(start)
    assert len(found) == len(expected)


def test_no_key_is_quoted(refusal: RegistryError) -> None:
    assert BAD.count(KEY) == 4
    text = str(refusal) + repr(refusal)
    assert KEY not in text
    assert not any(KEY[i : i + 8] in text for i in range(len(KEY) - 8))


def test_suggestions(refusal: RegistryError) -> None:
    hints = {p.path: p.suggestion for p in refusal.problems if p.suggestion}
    assert hints["providers.openai.kind"] == 'did you mean "openai"?'
    assert hints["models.chat.targets[0].gpt-4"] == 'did you mean "gpt-4o"?'
    assert hints["provider"] == 'did you mean "providers"?'
    assert hints["defaults.timeouts.unary_attempt"] == "write 120s"
    assert hints["defaults.timeouts.deadline"] == "write 1m"
    assert hints["defaults.attempts.wait_at_most"] == "write 5s"
    assert hints["targets.broken.model"] == "quote it: '4.1'"
    assert hints["defaults.commit"] == 'did you mean "first_token"?'
    assert "use credential" in hints["providers.openai.api_key"]
    assert hints["models.chat.rank_by"] == 'did you mean "latency"?'
    assert hints["models.chat.rules[0].when.prompt_token"] == 'did you mean "prompt_tokens"?'
    assert hints["limits[0].rpm"] == "use requests_per_minute"


def test_columns_point_at_the_value(refusal: RegistryError) -> None:
    by_path = {p.path: p for p in refusal.problems}
    problem = by_path["models.chat.targets[0].gpt-4"]
    line = BAD.splitlines()[problem.line - 1]
    assert line[problem.column - 1 :].startswith("5}")
    problem = by_path["provider"]
    assert (problem.line, problem.column) == (3, 1)


def test_the_printed_form() -> None:
    text = textwrap.dedent(
        """\
        version: 1
        providers: {v: {kind: openai-compatible, url: "http://h/v1"}}
        targets: {gpt-4o: {provider: v, model: m}}
        models: {chat: {targets: [gpt-4o, gpt-4]}}
        """
    )
    with pytest.raises(RegistryError) as caught:
        parse_registry(text.encode(), "file.yaml", DAY)
    assert str(caught.value) == 'file.yaml:4: models.chat.targets[1]: no target named "gpt-4" (did you mean "gpt-4o"?)'
