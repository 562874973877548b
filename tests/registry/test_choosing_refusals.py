"""Mistakes in what the file says about choosing, one per case: the path, the words, and the advice where people are known to write it otherwise."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml

from extproc.registry.load import RegistryError, parse_registry

DAY = date(2026, 10, 20)


def base() -> dict[str, Any]:
    return {
        "version": 1,
        "identity": {"tenant": {"jwt_claim": "tenant"}, "tier": {"header": "x-tier"}},
        "providers": {
            "p": {"kind": "openai-compatible", "url": "http://h/v1", "data_stays_in": ["eu"], "data_policy": ["no_training"]},
            "q": {"kind": "openai-compatible", "url": "http://h/v1"},
            "r": {"kind": "openai-compatible", "url": "http://h/v1", "data_stays_in": ["eu", "us"]},
        },
        "targets": {
            "t": {"provider": "p", "model": "a"},
            "u": {"provider": "q", "model": "b", "usd_per_million_tokens": {"input": 1, "output": 9}},
            "w": {"provider": "r", "model": "c"},
        },
        "models": {"chat": {"targets": ["t", "u"]}, "small": {"targets": ["u"], "aliases": ["tiny", "tiny-*"]}, "any-*": {"targets": ["w"]}},
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    data = base()
    at = data
    *parents, last = path.split("/")
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    return data


def refused(data: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(RegistryError) as caught:
        parse_registry(yaml.safe_dump(data, sort_keys=False).encode(), "r.yaml", DAY)
    assert all(p.line > 0 for p in caught.value.problems)
    return [(p.path, p.message, p.suggestion or "") for p in caught.value.problems]


def rule(**parts: Any) -> dict[str, Any]:
    return {"prefer": ["u"], **parts}


def test_the_base_of_these_cases_is_good() -> None:
    assert parse_registry(yaml.safe_dump(base()).encode(), "r.yaml", DAY).resolve("chat") is not None


@pytest.mark.parametrize(
    ("when", "where", "message", "advice"),
    [
        ({"prompt_token": 5}, ".prompt_token", 'no signal "prompt_token"; known: all, any, not, prompt_tokens', 'did you mean "prompt_tokens"?'),
        ({"input_tokens": 5}, ".input_tokens", "no signal", "use prompt_tokens: {below: 50}"),
        ({"model": "x"}, ".model", "no signal", "use asked"),
        ({"team": "x"}, ".team", "no signal", "use tenant"),
        ({"hour": 5}, ".hour", "no signal", "use time: {between:"),
        ({"$or": []}, '."$or"', "no signal", "use any: [{…}, {…}]"),
        ({"prompt_tokens": "many"}, ".prompt_tokens", "must be a number, a list of numbers, or bounds such as {below: 50}", ""),
        ({"prompt_tokens": True}, ".prompt_tokens", "must be a number", ""),
        ({"prompt_tokens": [1, "x"]}, ".prompt_tokens[1]", "must be a number", ""),
        ({"prompt_tokens": []}, ".prompt_tokens", "is an empty list", ""),
        ({"prompt_tokens": {}}, ".prompt_tokens", "is an empty mapping", ""),
        ({"prompt_tokens": None}, ".prompt_tokens", "is empty", ""),
        ({"prompt_tokens": {"lt": 50}}, ".prompt_tokens.lt", "is not a known key", "use below"),
        ({"prompt_tokens": {"$gte": 50}}, '.prompt_tokens."$gte"', "is not a known key", "use at_least"),
        ({"prompt_tokens": {"bellow": 50}}, ".prompt_tokens.bellow", "is not a known key", 'did you mean "below"?'),
        ({"prompt_tokens": {"below": "50"}}, ".prompt_tokens.below", "must be a number", ""),
        ({"prompt_tokens": {"below": -1}}, ".prompt_tokens.below", "prompt_tokens is 0 or more, never -1", ""),
        ({"prompt_tokens": {"below": 0}}, ".prompt_tokens", "no prompt_tokens is within these bounds", ""),
        ({"prompt_tokens": {"above": 50, "below": 50}}, ".prompt_tokens", "no prompt_tokens is within these bounds", ""),
        ({"prompt_tokens": {"above": 5, "at_least": 5}}, ".prompt_tokens.at_least", "stands beside `above`", "keep one of them"),
        ({"prompt_tokens": {"at_most": 5, "below": 5}}, ".prompt_tokens.at_most", "stands beside `below`", "keep one of them"),
        ({"complexity": 3}, ".complexity", "complexity is from 0 to 1, never 3", ""),
        ({"complexity": {"above": 1}}, ".complexity", "no complexity is within these bounds", ""),
        ({"tools": 1}, ".tools", 'must be true or false, is "1"', ""),
        ({"tools": [True, False]}, ".tools", "must be true or false, is a list", ""),
        ({"tools": {"below": 5}}, ".tools.below", "is not a known key; known here: not", ""),
        ({"task": 5}, ".task", 'must be a word, a list of words, or {not: word}, is "5"', "quote it: '5'"),
        ({"task": ["a", ["b"]]}, ".task[1]", "must be a word", ""),
        ({"task": "a*b"}, ".task", "with at most one * at the end", ""),
        ({"task": {"in": ["a"]}}, ".task.in", "is not a known key", "write a list of values"),
        ({"task": {"not": {"not": 5}}}, ".task.not.not", "must be a word", ""),
        ({"output_format": "json"}, ".output_format", 'output_format is never "json"; known: text, json_object, json_schema', ""),
        ({"weekday": "Saturday"}, ".weekday", 'weekday is never "Saturday"', 'did you mean "sat"?'),
        ({"weekday": "x*"}, ".weekday", 'weekday is never "x*"', ""),
        ({"operation": "chats"}, ".operation", 'operation is never "chats"', 'did you mean "chat"?'),
        ({"dialect": "openai_chats"}, ".dialect", "dialect is never", 'did you mean "openai_chat"?'),
        ({"language": "german"}, ".language", '"german" is no language: two lower-case letters', ""),
        ({"language": "DE"}, ".language", '"DE" is no language', ""),
        ({"modalities": ["image", "vidoe"]}, ".modalities[1]", 'modalities is never "vidoe"', 'did you mean "video"?'),
        ({"modalities": "im*"}, ".modalities", "a prefix is for a single word", ""),
        ({"time": "22:00"}, ".time", "the signal time is a time of day: two of them make a condition", "write {between:"),
        ({"time": {"between": "22:00"}}, ".time.between", "must be two times of day", ""),
        ({"time": {"between": ["22:00"]}}, ".time.between", "must be two times of day: from the first one until the second", ""),
        ({"time": {"between": ["22:00", "6:00"]}}, ".time.between[1]", "must be a time of day, hours and minutes with two digits each", ""),
        ({"time": {"between": ["24:00", "06:00"]}}, ".time.between[0]", "must be a time of day", ""),
        ({"time": {"between": ["06:00", "06:00"]}}, ".time.between", "starts and ends at the same time", ""),
        ({"time": {"above": 5}}, ".time.above", "is not a known key; known here: between, not", ""),
        ({"all": {"tools": True}}, ".all", "must be a list of mappings from signals to conditions, is a mapping", ""),
        ({"any": []}, ".any", "is an empty list", ""),
        ({"any": [{"tools": True}, {}]}, ".any[1]", "is an empty mapping", ""),
        ({"any": [{"tools": True}, "tools"]}, ".any[1]", "must be a mapping from signals to conditions", ""),
        ({"not": [{"tools": True}]}, ".not", "must be a mapping from signals to conditions", ""),
        ({"all": [{"any": [{"not": {"tols": True}}]}]}, ".all[0].any[0].not.tols", "no signal", 'did you mean "tools"?'),
        ({"user": "x"}, ".user", "user needs to know a request's user, and `identity` does not say where", "identity: {user: {jwt_claim: user}}"),
    ],
)  # fmt: skip
def test_whens(when: Any, where: str, message: str, advice: str) -> None:
    ((path, found, suggestion),) = refused(changed("models/chat/rules", [rule(when=when)]))
    assert path == f"models.chat.rules[0].when{where}"
    assert message in found
    assert advice in suggestion


@pytest.mark.parametrize(
    ("rules", "where", "message"),
    [
        ({}, "", "must be a list of rules such as"),
        ([], "", "is an empty list"),
        (["short"], "[0]", "must be a mapping such as {when:"),
        ([rule(when="tools")], "[0].when", "must be a mapping from signals to conditions"),
        ([rule(), rule(when={"tools": True})], "[0]", "always holds, so no rule behind it is reached"),
        ([rule(when={}), rule(when={"tools": True})], "[0].when", "always holds, so no rule behind it is reached"),
        ([rule(when={"tools": True}), rule(when={"stream": True}), rule(when={"tools": True})], "[2]", 'is never reached: the rule "rule1", line '),
        ([rule(when={"turns": 1}), rule(when={"turns": [1.0]})], "[1]", "is never reached"),
        ([{"when": {"tools": True}}], "[0]", "has no effect"),
        ([{"prefer": ["t"], "only": ["u"]}], "[0].only", "stands beside `prefer`"),
        ([rule(prefer=["x"])], "[0].prefer[0]", 'no target named "x"'),
        ([rule(prefer=["t", "t"])], "[0].prefer[1]", 'the target "t" is listed twice'),
        ([rule(prefer=[])], "[0].prefer", "is an empty list"),
        ([rule(prefer="t")], "[0].prefer", "must be a list of targets such as [gpt-4o-mini]"),
        ([rule(only=[3])], "[0].only[0]", "must be the name of a target"),
        ([rule(name="a b")], "[0].name", '"a b" is no name for a rule'),
        ([rule(name=5)], "[0].name", "must be a name"),
        ([rule(name="a", when={"tools": True}), rule(name="a")], "[1].name", 'there is another rule "a", line '),
        ([rule(name="rule2", when={"tools": True}), rule()], "[1]", 'there is another rule "rule2", line '),
        ([{"rank_by": "luck"}], "[0].rank_by", "must be order, cost, latency, bandit, or weights"),
        ([{"rank_by": {"quality": 1}, "only": ["t"]}], "[0].rank_by", "weighs quality, and no target of this model says its own"),
        ([rule(require={})], "[0].require", "is not a known key"),
    ],
)  # fmt: skip
def test_rules(rules: Any, where: str, message: str) -> None:
    data = changed("models/chat/rules", rules)
    if "stands beside" not in message and isinstance(rules, list):
        for entry in rules:
            if isinstance(entry, dict) and "only" in entry:
                entry.pop("prefer", None)
    ((path, found, _),) = refused(data)
    assert path == f"models.chat.rules{where}"
    assert message in found


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("if", "use when"),
        ("conditions", "use when"),
        ("then", "use prefer: [target], or only: [target]"),
        ("strategy", "use rank_by"),
        ("fallbacks", "prefer: keeps the model's other targets as fallback"),
        ("onyl", 'did you mean "only"?'),
    ],
)
def test_keys_of_rules_that_people_try(key: str, advice: str) -> None:
    ((path, _, suggestion),) = refused(changed("models/chat/rules", [{"rank_by": "cost", key: ["t"]}]))
    assert path == f"models.chat.rules[0].{key}"
    assert advice in suggestion


@pytest.mark.parametrize("block", ["models/chat", "defaults"])
@pytest.mark.parametrize(
    ("key", "value", "where", "message", "advice"),
    [
        ("rank_by", "latncy", "", "must be order, cost, latency, bandit, or weights such as", 'did you mean "latency"?'),
        ("rank_by", "latency-based-routing", "", "must be order", "use latency"),
        ("rank_by", "least-busy", "", "must be order", "use {load: 1}"),
        ("rank_by", "simple-shuffle", "", "must be order", "use order, with weights in targets"),
        ("rank_by", "fallback", "", "must be order", "use order"),
        ("rank_by", "score", "", "must be order", "use weights, such as {latency: 2, cost: 1}"),
        ("rank_by", {}, "", "is an empty mapping", ""),
        ("rank_by", ["cost"], "", "is a list", ""),
        ("rank_by", {"cost": 0}, ".cost", "must be a weight above 0", ""),
        ("rank_by", {"cost": "high"}, ".cost", "must be a weight, a number above 0", ""),
        ("rank_by", {"speed": 1, "cost": 1}, ".speed", "is not a known key", "use latency"),
        ("objectives", {}, "", "says nothing", "such as {first_token: 2s"),
        ("objectives", {"first_token": 2}, ".first_token", "must be a duration with its unit", "write 2s"),
        ("objectives", {"ttft": "2s"}, ".ttft", "is not a known key", "use first_token: 2s"),
        ("objectives", {"usd_per_request": 0}, ".usd_per_request", "must be US dollars above 0", ""),
        ("explore", 0.6, "", "must be a share from 0 to 0.5, is 0.6", ""),
        ("explore", -0.1, "", "must be a share from 0 to 0.5", ""),
        ("explore", "2%", "", "must be a share from 0 to 0.5", ""),
        ("sticky_by", "tier", "", "must be one of session, tenant, application, user, or header:NAME", ""),
        ("sticky_by", "sesion", "", "must be one of session", 'did you mean "session"?'),
        ("sticky_by", "user", "", "sticky_by: user needs to know a request's user", "identity: {user: {jwt_claim: user}}"),
        ("sticky_by", "header:", "", "must be the name of a header", ""),
        ("sticky_by", "header:Authorization", "", "cannot be taken: it holds a credential", ""),
        ("sticky_by", "header:x-llm-session", "", "is a request's session", "use session"),
        ("sticky_by", "header::path", "", "cannot be taken: it does not tell who asks", ""),
        ("affinity", "yes", "", "must be true, false, or a mapping", ""),
        ("affinity", {}, "", "says nothing", "write true"),
        ("affinity", {"seconds": "1s"}, ".seconds", "must be a number of seconds", ""),
        ("affinity", {"ttl": 300}, ".ttl", "must be a duration with its unit", "write 300s"),
        ("affinity", {"usd": -1}, ".usd", "must be US dollars from 0", ""),
        ("observe", "cost", "", "must be bandit, the only policy that can be observed", ""),
        ("last_resort", "no", "", "must be true or false", ""),
        ("require", {}, "", "says nothing", "such as {data_stays_in: [eu]}"),
        ("require", {"residency": ["eu"]}, ".residency", "is not a known key", "use data_stays_in: [eu]"),
        ("require", {"region_lock": "eu"}, ".region_lock", "is not a known key", "use data_stays_in: [eu]"),
        ("require", {"data_stays_in": "eu"}, ".data_stays_in", "must be a list of regions", ""),
        ("require", {"data_stays_in": ["EU"]}, ".data_stays_in[0]", '"EU" is no region', ""),
        ("require", {"data_policy": ["no-training"]}, ".data_policy[0]", '"no-training" is no such word', "such as no_training"),
        ("require", {"data_policy": ["ZDR"]}, ".data_policy[0]", '"ZDR" has another name here', "use zero_retention"),
        ("require", {"data_policy": ["no_traning"]}, ".data_policy", "no provider of this file promises no_traning; they promise", "did you"),
        ("require", {"usd_per_million_tokens": {}}, ".usd_per_million_tokens", "says nothing", ""),
        ("require", {"usd_per_million_tokens": {"input": -1}}, ".usd_per_million_tokens.input", "must be from 0 to", ""),
        ("require", {"usd_per_million_tokens": 5}, ".usd_per_million_tokens", "must be a mapping such as {input: 3, output: 15}", ""),
    ],
)  # fmt: skip
def test_settings(block: str, key: str, value: Any, where: str, message: str, advice: str) -> None:
    ((path, found, suggestion),) = refused(changed(f"{block}/{key}", value))
    assert path == f"{block.replace('/', '.')}.{key}{where}"
    assert message in found
    assert advice in suggestion


@pytest.mark.parametrize(
    ("path", "value", "where", "message", "advice"),
    [
        ("models/chat/rank_by", {"quality": 1}, "", "weighs quality, and no target of this model says its own", "write quality: 0.8"),
        ("models/chat/strategy", "x", "", "is not a known key", "use rank_by"),
        ("models/chat/routing", "x", "", "is not a known key", "use rank_by"),
        ("models/chat/weights", {}, "", "is not a known key", "weights of targets stand in targets"),
        ("models/chat/region_lock", "eu", "", "is not a known key", "use require: {data_stays_in: [eu]}"),
        ("models/chat/limits", [], "", "is not a known key", "limits stand at the top of the file"),
        ("models/chat/max_budget", 5, "", "is not a known key", "limits stand at the top of the file"),
        ("models/chat/identity", {}, "", "is not a known key", "it stands at the top of the file"),
        ("models/chat/mirror", {}, "", "is not a known key", "use shadow"),
        ("defaults/rules", [], "", "is not a known key", "it belongs to a model"),
        ("rules", [], "", "is not a known key", "it belongs to a model"),
        ("rank_by", "cost", "", "is not a known key", "it belongs to defaults or to a model"),
        ("model_list", [], "", "is not a known key", "use models, targets and providers"),
        ("router_settings", {}, "", "is not a known key", "use defaults: {rank_by: cost}"),
        ("budgets", {}, "", "is not a known key", "use limits"),
        ("redis_host", "x", "", "is not a known key", "use state: redis://redis:6379/0"),
        ("models/chat/shadow", {"target": "t"}, "", "needs `share`", ""),
        ("models/chat/shadow", "t", "", "must be a mapping such as {target: sonnet, share: 0.05}", ""),
        ("models/chat/shadow", {"target": "x", "share": 1}, ".target", 'no target named "x"', ""),
        ("models/chat/shadow", {"target": "t", "share": 0}, ".share", "must be a share above 0, at most 1, is 0", ""),
        ("models/chat/shadow", {"target": "t", "percent": 5, "share": 0.1}, ".percent", "is not a known key", "use share"),
        ("targets/t/concurrency", 0, "", "must be a whole number of requests from 1", ""),
        ("targets/t/concurrency", 2.5, "", "must be a whole number of requests", ""),
        ("targets/t/requests_per_minute", 0, "", "must be a number above 0", "drained: true gives it nothing"),
        ("targets/t/tokens_per_minute", "100k", "", "must be a number above 0", ""),
        ("targets/t/quality", 2, "", "must be a number from 0 to 1, is 2", ""),
        ("targets/t/drained", "no", "", "must be true or false", ""),
        ("targets/t/rpm", 5, "", "is not a known key", "use requests_per_minute"),
        ("targets/t/enabled", False, "", "is not a known key", "use drained: true"),
        ("targets/t/data_policy", [], "", "is not a known key", "it belongs to the provider"),
        ("providers/p/data_policy", "no_training", "", "must be a list of words such as [no_training]", ""),
        ("providers/p/data_policy", ["No Training"], "[0]", '"No Training" is no such word', "such as no_training"),
        ("providers/p/data_policy", ["no_training", "no_training"], "[1]", '"no_training" is listed twice', ""),
        ("providers/p/zdr", True, "", "is not a known key", "use data_policy: [no_training]"),
        ("identity", {}, "", "says nothing", "for example {tenant: {jwt_claim: tenant}}"),
        ("identity", "jwt", "", "must be a mapping such as {tenant: {jwt_claim: tenant}}", ""),
        ("identity/team", {}, "", "is not a known key", "use tenant"),
        ("identity/user", "x-user", "", "must be {jwt_claim: name}, {header: name} or {certificate: uri_san}", ""),
        ("identity/user", {}, "", "needs exactly one of `jwt_claim`, `header` and `certificate`", ""),
        ("identity/user", {"jwt_claim": "a", "header": "b"}, "", "needs exactly one of", ""),
        ("identity/user", {"jwt": "a"}, ".jwt", "is not a known key", "use jwt_claim"),
        ("identity/user", {"jwt_claim": "a..b"}, ".jwt_claim", '"a..b" is no path of a claim', ""),
        ("identity/user", {"header": "x-llm-user"}, ".header", "cannot be taken: it steers this server", ""),
        ("identity/user", {"header": "X-Envoy-Peer"}, ".header", "cannot be taken: it steers Envoy", ""),
        ("identity/user", {"header": "Authorization"}, ".header", "cannot be taken: it holds a credential, which this server never sees", ""),
        ("identity/user", {"header": "x-api-key"}, ".header", "cannot be taken: it holds a credential", ""),
        ("identity/user", {"header": "cookie"}, ".header", "cannot be taken: it holds a credential", ""),
        ("identity/user", {"header": "x-forwarded-for"}, ".header", "cannot be taken: it does not tell who asks", ""),
        ("identity/user", {"header": "X-Forwarded-Client-Cert"}, ".header", "is read as a certificate", "use certificate"),
        ("identity/user", {"header": "a b"}, ".header", "cannot be taken: it is no header name", ""),
        ("identity/user", {"certificate": "cn"}, ".certificate", "must be one of uri_san, dns_san, subject", ""),
        ("identity/otherwise", {"tier": 1}, ".tier", "must be a name", "quote it: '1'"),
        ("identity/otherwise", {"group": "x"}, ".group", "is not a known key", "use tier"),
        ("tenants", [], "", "must be a mapping from tenants to what holds for them", ""),
        ("tenants", {"acme": None}, ".acme", "must be a mapping such as {models: {allow: [chat]}}", ""),
        ("tenants", {"ac*": {}}, '."ac*"', '"ac*" is no name of a tenant', '"*" alone is everybody without an entry'),
        ("tenants", {"a": {"deny": ["t"]}}, ".a.deny", "is not a known key", "use models: {allow: […], deny: […]}"),
        ("tenants", {"a": {"rpm": 5}}, ".a.rpm", "is not a known key", "limits stand at the top of the file"),
        ("tenants", {"a": {"models": {}}}, ".a.models", "says nothing", ""),
        ("tenants", {"a": {"models": ["chat"]}}, ".a.models", "must be a mapping such as {allow: [a, b*], deny: [c]}", ""),
        ("tenants", {"a": {"models": {"only": ["chat"]}}}, ".a.models.only", "is not a known key", "use allow"),
        ("tenants", {"a": {"models": {"allow": ["cht"]}}}, ".a.models.allow[0]", 'no model named "cht"', 'did you mean "chat"?'),
        ("tenants", {"a": {"models": {"allow": ["tiny"]}}}, ".a.models.allow[0]", '"tiny" is an alias', "write the model: small"),
        ("tenants", {"a": {"models": {"allow": ["tiny-2*"]}}}, ".a.models.allow[0]", '"tiny-2*" is an alias', "write the model: small"),
        ("tenants", {"a": {"models": {"deny": ["x*"]}}}, ".a.models.deny[0]", '"x*" matches no model', ""),
        ("tenants", {"a": {"models": {"deny": ["c*t"]}}}, ".a.models.deny[0]", '"c*t" has a * before its end', ""),
        ("tenants", {"a": {"models": {"deny": ["chat", "chat"]}}}, ".a.models.deny[1]", '"chat" is listed twice', ""),
        ("tenants", {"a": {"targets": {"deny": ["tt"]}}}, ".a.targets.deny[0]", 'no target named "tt"', ""),
        ("tenants", {"a": {"targets": {"allow": ["t"], "deny": ["t"]}}}, ".a.targets.deny", '"t" is allowed and denied', ""),
        ("tenants", {"a": {"providers": {"deny": ["deepseek"]}}}, ".a.providers.deny[0]", 'no provider named "deepseek"', ""),
        ("tenants", {"a": {"providers": {"deny": []}}}, ".a.providers.deny", "is an empty list", ""),
        ("limits", {"rpm": 5}, "", "must be a list of limits such as", ""),
        ("limits", [{}], "[0]", "limits nothing", "say one of requests_per_minute"),
        ("limits", [{"for": {"tenant": "*"}}], "[0]", "limits nothing", ""),
        ("limits", [{"rpm": 5, "requests_per_minute": 5}], "[0].rpm", "is not a known key", "use requests_per_minute"),
        ("limits", [{"requests_per_minute": 5, "budget": 5}], "[0].budget", "is not a known key", "use usd_per_day or usd_per_month"),
        ("limits", [{"requests_per_minute": 0}], "[0].requests_per_minute", "must be a number above 0", ""),
        ("limits", [{"tokens_per_minute": float("inf")}], "[0].tokens_per_minute", "must be a number above 0", ""),
        ("limits", [{"requests_per_minute": 5, "for": {}}], "[0].for", "says nothing", "leave it out to count everything together"),
        ("limits", [{"requests_per_minute": 5, "for": {"team": "a"}}], "[0].for.team", "is not a known key", "use tenant"),
        ("limits", [{"requests_per_minute": 5, "for": {"target": "t"}}], "[0].for.target", "is not a known key", "targets have limits of their own"),
        ("limits", [{"requests_per_minute": 5, "for": {"user": "*"}}], "[0].for.user", "needs to know a request's user", "identity: {user:"),
        ("limits", [{"requests_per_minute": 5, "for": {"tenant": "a*b"}}], "[0].for.tenant", '"a*b" is no name', ""),
        ("limits", [{"requests_per_minute": 5, "for": {"model": "cht"}}], "[0].for.model", 'no model named "cht"', 'did you mean "chat"?'),
        ("limits", [{"requests_per_minute": 5, "for": {"model": "x*"}}], "[0].for.model", '"x*" matches no model', ""),
        ("limits", [{"requests_per_minute": 5, "for": {"model": "tiny"}}], "[0].for.model", '"tiny" is an alias', "write the model: small"),
        ("limits", [{"usd_per_day": 5}], "[0].usd_per_day", "is a budget that every server process would spend by itself", "scope: process"),
        ("limits", [{"usd_per_month": 5}], "[0].usd_per_month", "is a budget", "state: redis://redis:6379/0"),
        ("limits", [{"requests_per_minute": 5, "scope": "shared"}], "[0].scope", "needs `state`", ""),
        ("limits", [{"requests_per_minute": 5, "scope": "replica"}], "[0].scope", "must be one of process, shared", ""),
        ("limits", [{"requests_per_minute": 5, "instead": "smal"}], "[0].instead", 'no model named "smal"', 'did you mean "small"?'),
        ("limits", [{"requests_per_minute": 5, "instead": "tiny"}], "[0].instead", '"tiny" is an alias', "write the model: small"),
        ("limits", [{"requests_per_minute": 5, "instead": "any-*"}], "[0].instead", '"any-*" is a wildcard', ""),
        ("limits", [{"tokens_per_minute": 5, "when_exceeded": {"use_model": "small"}}], "[0].when_exceeded", "is not", "use instead: small"),
        ("limits", [{"requests_per_minute": 5, "when_exceeded": "x"}], "[0].when_exceeded", "is not a known key", "use instead: model"),
        ("limits", [{"requests_per_minute": 5, "for": {"model": "chat"}, "instead": "chat"}], "[0].instead", "is the very model that is over", ""),
        ("state", "redis", "", "must start with redis://, rediss:// (TLS) or unix://", ""),
        ("state", "http://redis", "", "must start with redis://", ""),
        ("state", "redis://", "", "has no valid host or port", ""),
        ("state", "redis://a b", "", "must not hold spaces", ""),
        ("state", "redis://r:0", "", "has no valid host or port", ""),
        ("state", "redis://r:x", "", "is not a URL", ""),
        ("state", "redis://r/a", "", "may hold the number of a database behind the host", ""),
        ("state", "redis://r?password=x", "", "must not hold a query", ""),
        ("state", "unix://run/redis.sock", "", "must be the absolute path of a socket", "with three slashes"),
        ("state", {}, "", "needs `url`", ""),
        ("state", [], "", "must be a URL such as redis://redis:6379/0, is a list", ""),
        ("state", {"url": "redis://r", "username": "a"}, "", "has a username without `password_file`", ""),
        ("state", {"url": "redis://r", "prefix": "a b"}, ".prefix", '"a b" is no prefix', ""),
        ("state", {"url": "redis://r", "password_file": "~/x"}, ".password_file", "is not the path of a file", ""),
        ("state", {"url": "redis://r", "host": "x"}, ".host", "is not a known key", "use url"),
    ],
)  # fmt: skip
def test_sections(path: str, value: Any, where: str, message: str, advice: str) -> None:
    ((found_path, found, suggestion),) = refused(changed(path, value))
    assert found_path == path.replace("/", ".") + where
    assert message in found
    assert advice in suggestion


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("redis://:hunter22@redis:6379/0", "hunter22"),
        ("redis://admin:hunter22@redis", "admin"),
        ("redis://redis?password=hunter22", "hunter22"),
        ("redis://hunter22@redis", "hunter22"),
        ("redis://[hunter22", "hunter22"),
        ("hunter22@redis:6379", "hunter22"),
    ],
)
@pytest.mark.parametrize("path", ["state", "state/url"])
def test_a_password_in_the_url_is_refused_and_not_quoted(path: str, url: str, secret: str) -> None:
    ((where, message, advice),) = refused(changed(path, url))
    assert where == path.replace("/", ".")
    assert secret not in message + advice


@pytest.mark.parametrize("key", ["password", "auth", "secret"])
def test_a_password_beside_the_url_is_refused_and_not_quoted(key: str) -> None:
    ((where, message, advice),) = refused(changed("state", {"url": "redis://r", key: "hunter22"}))
    assert where == f"state.{key}"
    assert "hunter22" not in message + advice
    assert "password_file: /secrets/redis" in advice


class TestWhatCanNeverServe:
    def test_a_requirement_of_the_model(self) -> None:
        data = changed("models/chat", {"targets": [{"t": 1, "u": 1}, "w"], "require": {"data_stays_in": ["us"]}})
        ((path, message, _),) = refused(data)
        assert path == "models.chat.require"
        assert message == (
            "its require leaves none of this model's targets: t: its data may be in eu; "
            "u: its provider q does not say where data stays; w: its data may be in eu, us"
        )

    def test_a_requirement_of_the_defaults_is_told_at_the_models(self) -> None:
        found = refused(changed("defaults/require", {"data_policy": ["no_training"]}))
        assert [(path, message.partition(":")[0]) for path, message, _ in found] == [
            ("models.small.targets", "the require of defaults leaves none of this model's targets"),
            ('models."any-*".targets', "the require of defaults leaves none of this model's targets"),
        ]

    def test_prices(self) -> None:
        found = refused(changed("models/chat/require", {"usd_per_million_tokens": {"output": 5}}))
        assert [message for _, message, _ in found] == [
            "its require leaves none of this model's targets: t: its price is not known; u: its output costs 9 US dollars per million tokens"
        ]

    def test_many_targets_are_not_all_listed(self) -> None:
        data = base()
        data["targets"] |= {f"x{i}": {"provider": "q", "model": "b"} for i in range(30)}
        data["models"]["chat"] = {"targets": [f"x{i}" for i in range(30)], "require": {"data_stays_in": ["eu"]}}
        ((_, message, _),) = refused(data)
        assert message.endswith("; and 18 more")

    def test_a_model_that_would_widen_the_defaults(self) -> None:
        data = changed("defaults/require", {"data_stays_in": ["eu", "us"]})
        data["models"] = {"chat": {"targets": ["t"], "require": {"data_stays_in": ["ch"]}}}
        found = refused(data)
        assert ("models.chat.require", "[ch] excludes [eu, us], where defaults require data to stay: both hold here") in [f[:2] for f in found]
        assert "cannot widen it" in found[0][2] + found[-1][2]

    @pytest.mark.parametrize("key", ["only", "prefer"])
    def test_a_rule_of_targets_that_the_requirement_rules_out(self, key: str) -> None:
        data = changed("models/chat/require", {"data_stays_in": ["eu"]})
        data["models"]["chat"]["rules"] = [{key: ["u", "w"]}]
        ((path, message, _),) = refused(data)
        assert path == f"models.chat.rules[0].{key}"
        assert message.startswith("names no target that the model's require allows: u: its provider q does not say where data stays; w: ")
        data["models"]["chat"]["rules"] = [{key: ["u", "t"]}]
        assert parse_registry(yaml.safe_dump(data).encode(), "r.yaml", DAY).models["chat"].rules

    def test_a_shadow_that_would_leak(self) -> None:
        data = changed("models/chat/require", {"data_stays_in": ["eu"]})
        data["models"]["chat"]["shadow"] = {"target": "w", "share": 0.1}
        ((path, message, _),) = refused(data)
        assert path == "models.chat.shadow.target"
        assert message.endswith("the model's require does not allow w: its data may be in eu, us")

    def test_a_tenant(self) -> None:
        ((path, message, _),) = refused(changed("tenants", {"acme": {"require": {"data_stays_in": ["ch"]}}}))
        assert path == "tenants.acme.require"
        assert message.startswith("leaves no target of this file: t: its data may be in eu; u: ")

    @pytest.mark.parametrize(
        ("pairs", "guilty"),
        [
            ([("chat", "small"), ("small", "chat")], 1),
            ([("chat", "small"), ("small", "mid"), ("mid", "chat")], 2),
            ([("*", "small"), ("small", "chat")], 1),
            ([("small", "mid"), ("m*", "small")], 1),
        ],
    )
    def test_instead_that_leads_back(self, pairs: list[tuple[str, str]], guilty: int) -> None:
        data = base()
        data["models"]["mid"] = {"targets": ["t"]}
        data["limits"] = [{"for": {"model": a}, "requests_per_minute": 5, "instead": b} for a, b in pairs]
        ((path, message, _),) = refused(data)
        assert path == f"limits[{guilty}].instead"
        assert message.startswith("leads back: ")

    def test_instead_that_ends(self) -> None:
        data = base()
        data["models"]["mid"] = {"targets": ["t"]}
        pairs = [
            ({"model": "*"}, "small"),
            ({"model": "chat"}, "mid"),
            ({"tenant": "acme"}, "chat"),
            ({"tenant": "b"}, "small"),
            ({"model": "mid"}, "small"),
        ]
        data["limits"] = [{"for": by, "requests_per_minute": 5, "instead": to} for by, to in pairs]
        assert len(parse_registry(yaml.safe_dump(data).encode(), "r.yaml", DAY).limits) == 5


def test_who_asks_needs_an_identity() -> None:
    data = base()
    del data["identity"]
    data["models"]["chat"] |= {"rules": [rule(when={"any": [{"tier": "premium"}, {"not": {"application": "x"}}]})], "sticky_by": "tenant"}
    data["tenants"] = {"acme": {}, "*": {}}
    data["limits"] = [{"for": {"tenant": "*", "user": "*", "model": "*"}, "requests_per_minute": 5}]
    assert [path for path, _, _ in refused(data)] == [
        "models.chat.rules[0].when.any[0].tier",
        "models.chat.rules[0].when.any[1].not.application",
        "models.chat.sticky_by",
        "tenants.acme",
        "limits[0].for.tenant",
        "limits[0].for.user",
    ]


@pytest.mark.parametrize("identity", [{"tenant": {"jwt_claim": ""}}, {"tenat": {"jwt_claim": "x"}}, [], {"otherwise": {"tenat": "x"}}])
def test_a_broken_identity_is_the_only_problem(identity: Any) -> None:
    data = changed("tenants", {"acme": {}})
    data["identity"] = identity
    ((path, _, _),) = refused(data)
    assert path.startswith("identity")


def test_a_broken_model_does_not_make_its_users_dangle() -> None:
    data = changed("models/chat/strict", 7)
    data["tenants"] = {"acme": {"models": {"allow": ["chat", "nobody"]}}}
    data["limits"] = [{"requests_per_minute": 1, "instead": "nobody"}]
    assert [path for path, _, _ in refused(data)] == ["models.chat.strict"]


def test_the_bandit_cannot_observe_itself() -> None:
    data = changed("models/chat/observe", "bandit")
    data["models"]["chat"]["rank_by"] = "bandit"
    assert [f[:2] for f in refused(data)] == [("models.chat.observe", "says nothing: the bandit ranks here already")]
