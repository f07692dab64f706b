from __future__ import annotations

from pathlib import Path

import pytest
from llm_worker.templates import BadTemplates, Templates, load_templates
from penstock_kit.errors import Rejected

GREETING = Templates({"greeting": "Dear {{ name }}, {{name}}: {{word}} {not} {{1x}}"})


def test_load_reads_texts_by_their_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A {{x}}")
    (tmp_path / "b.v2.md").write_text("Bé")
    (tmp_path / "c.html").write_text("C")

    templates = load_templates(tmp_path)

    assert templates.fill("a", {"x": "1"}) == "A 1"
    assert templates.fill("b.v2", {}) == "Bé"
    with pytest.raises(Rejected, match=r"template 'c' does not exist; known templates: a, b\.v2"):
        templates.fill("c", {})


def test_load_when_no_folder_is_set_has_none() -> None:
    with pytest.raises(Rejected, match="known templates: none are installed"):
        load_templates(None).fill("a", {})


def test_load_when_the_folder_is_missing_says_which_variable(tmp_path: Path) -> None:
    with pytest.raises(BadTemplates, match="correct PENSTOCK_LLM_WORKER__TEMPLATES_DIR") as refused:
        load_templates(tmp_path / "nowhere")

    assert "nowhere" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("Big Name.txt", b"x", "template file 'Big Name.txt' needs a name of lower-case letters"),
        ("big.txt", b"x" * (256 * 1024 + 1), "template 'big.txt' is larger than 262144 bytes"),
        ("latin.txt", b"caf\xe9", "cannot read the templates in"),
    ],
)
def test_load_when_a_file_cannot_be_used_names_it(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadTemplates) as refused:
        load_templates(tmp_path)

    assert told in str(refused.value)


def test_load_when_two_files_have_one_name_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "a.md").write_text("two")

    with pytest.raises(BadTemplates, match=r"'a\.md' and 'a\.txt'"):
        load_templates(tmp_path)


def test_fill_inserts_values_literally_and_only_once() -> None:
    filled = GREETING.fill("greeting", {"name": "{{word}}", "word": r"\1 {{name}}"})

    assert filled == r"Dear {{word}}, {{word}}: \1 {{name}} {not} {{1x}}"


@pytest.mark.parametrize(
    ("variables", "code", "field"),
    [
        ({"name": "x"}, "missing_variable", "input.variables.word"),
        ({"name": "x", "word": "y", "z": ""}, "unknown_variable", "input.variables.z"),
    ],
)
def test_fill_when_variables_do_not_fit_names_the_one(
    variables: dict[str, str], code: str, field: str
) -> None:
    with pytest.raises(Rejected) as refused:
        GREETING.fill("greeting", variables)

    assert (refused.value.code, refused.value.field) == (code, field)
