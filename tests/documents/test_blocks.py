"""The runner of the documents' blocks can fail: each way a document can be wrong is reported."""

from pathlib import Path

import pytest

from tests.documents.blocks import blocks
from tests.documents.test_documents import disagreements


def document(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, "utf-8")
    return path


GOOD = """\
```python
import asyncio
from contextvars import ContextVar
seen = ContextVar("seen", default=0)
seen.set(1)
loops = []
```
Prose.
1. In a list:
   ```python
   await asyncio.sleep(0)
   loops.append(asyncio.get_running_loop())
   print(seen.get())
   ```

   ```text
   1
   ```
```python
loops.append(asyncio.get_running_loop())
await asyncio.sleep(0)
print(loops[0] is loops[1])
```
```text
True
```
```python
async def main(): return 3
print(asyncio.run(main()))
```
```text
3
```
````text
```python
raise RuntimeError("only quoted")
```
````
"""


def test_blocks_share_names_context_and_loop(tmp_path: Path) -> None:
    assert disagreements(document(tmp_path, GOOD), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "line 2 shows:\n2\nbut prints:\n1\n"),
        ("```python\nprint(1, end='')\n```\n\n```text\n1\n```\n", "line 2 shows"),
        ("# title\n```python\n1 / 0\n```\n", 'page.md", line 3'),
        ("```python\nawait missing()\n```\n", "NameError"),
        ("```python\nimport warnings; warnings.warn('old')\n```\n", "UserWarning"),
        ("```python\n", "never closed"),
    ],
)
def test_what_is_wrong_is_reported(text: str, says: str, tmp_path: Path) -> None:
    path = document(tmp_path, text)
    if says == "never closed":
        with pytest.raises(ValueError, match=says):
            blocks(text)
    else:
        assert says in "\n".join(disagreements(path, tmp_path))


def test_a_block_runs_unless_a_reason_stands_directly_before() -> None:
    def reasons(text: str) -> list[str | None]:
        return [block.not_run for block in blocks(text)]

    assert reasons("<!-- not run: needs Redis -->\n\n```python\n```\n") == ["needs Redis"]
    assert reasons("<!-- not run -->\n```python\n```\n") == [""]
    assert reasons("<!-- not run: old -->\nProse.\n```python\n```\n") == [None]
    assert reasons("<!-- not run: one -->\n```python\n```\n```python\n```\n") == ["one", None]


def test_only_a_text_block_directly_after_is_output() -> None:
    def shown(text: str) -> list[str | None]:
        return [block.expected for block in blocks(text)]

    assert shown("```python\n```\n\n```text\na\n```\n") == ["a\n"]
    assert shown("```python\n```\nA file:\n```text\na\n```\n") == [None]
    assert shown("```python\n```\n```bash\na\n```\n") == [None]
    assert shown("Prose.\n") == []
