"""Reading the YAML files."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.envoyconfig.sources import SourceError, load_sources


def test_a_directory_may_have_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("connect_timeout: 1s\n")
    (tmp_path / "registry.yaml").write_text("not: ours\n")
    sources = load_sources(tmp_path)
    assert sources.cluster.data == {"connect_timeout": "1s"}
    assert sources.cluster.lines == {("connect_timeout",): 1}
    assert sources.routes == load_sources().routes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "cluster.yaml:2: a: is set twice"),
        ("a: [1\n", "cluster.yaml:"),
        ("- 1\n", "cluster.yaml:1: must be a mapping"),
        ("a: {b: on}\n", 'cluster.yaml:1: a.b: "on" is a boolean to YAML 1.1'),
        ("mode: 0600\n", "is a different number"),
        ("a: 1\n---\nb: 2\n", "second YAML document"),
        ("\tx: 1\n", "cluster.yaml:1:"),
    ],
)
def test_refused_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(SourceError) as caught:
        load_sources(tmp_path)
    assert words in str(caught.value)


def test_all_problems_at_once(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "routes.yaml").mkdir()
    (tmp_path / "listeners.yaml").write_text("")
    with pytest.raises(SourceError) as caught:
        load_sources(tmp_path)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "listeners.yaml: nothing reads this file; did you mean listener.yaml?" in text
    assert "routes.yaml: cannot be read" in text


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such directory"):
        load_sources(tmp_path / "nowhere")
