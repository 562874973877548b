"""What the demo prints when it stays up: commands to copy, as they are, into another terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

Part = tuple[str, str]
"""(heading, commands)."""


def parts(url: str, python: str, extproc: str, run_dir: str, failing: str, environ: Mapping[str, str]) -> list[Part]:
    """`url` of Envoy, the `python` that has the SDKs, how `extproc` is called and the `run_dir` of the server, the URL `failing` of the simulator
    behind the first provider of the model "chat"."""
    port = url.rpartition(":")[2]
    python = shlex.quote(python)
    where = f"--run-dir {shlex.quote(run_dir)}"
    direct = "export no_proxy=127.0.0.1,localhost\n" if any(environ.get(name) for name in _PROXIES) else ""
    return [
        (
            "Ask with curl",
            f"""\
{direct}curl {url}/v1/chat/completions \\
  -H 'content-type: application/json' \\
  -d '{{"model": "chat", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
        ),
        (
            "Ask with the OpenAI SDK",
            f"""\
{python} - <<'END'
from openai import OpenAI
llm = OpenAI(base_url="{url}/v1", api_key="none")
hello = [{{"role": "user", "content": "Hello"}}]
answer = llm.chat.completions.create(model="chat", messages=hello)
print(answer.choices[0].message.content)
END""",
        ),
        (
            "Ask with the Anthropic SDK, the same model",
            f"""\
{python} - <<'END'
from anthropic import Anthropic
llm = Anthropic(base_url="{url}", api_key="none")
hello = [{{"role": "user", "content": "Hello"}}]
answer = llm.messages.create(model="chat", max_tokens=100, messages=hello)
print(answer.content[0].text)
END""",
        ),
        (
            "Ask as an application of Ollama's would; Claude answers",
            f"""\
curl {url}/api/chat \\
  -d '{{"model": "claude", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
        ),
        (
            "Make openai fail, ask again, mend it (GET lists all faults)",
            f"""\
curl {failing}/_sim/fault \\
  -d '{{"kind": "status", "status": 503, "times": null}}'
curl {failing}/_sim/fault -X DELETE""",
        ),
        (
            "See what it decides and measures, live (Ctrl-C ends that)",
            f"{extproc} top {where}",
        ),
        (
            "See how it routes, let Gemini answer first, take that back",
            f"""\
{extproc} routes {where}
{extproc} routes set chat 'targets=[gemini, openai]' \\
  {where}
{extproc} routes drop {where}""",
        ),
        (
            f"Have a name for it: http://llm.internal:{port}",
            "echo '127.0.0.1 llm.internal' | sudo tee -a /etc/hosts",
        ),
    ]
