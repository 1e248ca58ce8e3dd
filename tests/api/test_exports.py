"""The public names: frozen, lazy, and the same for programs and for type checkers."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cascada

ROOT = Path(__file__).parents[2]

_MODERN = """
    FOREVER Cache CascadaError Context Event Hit Limits Loaded Miss Policy Tenant cached
"""

_DOCUMENTED = """
    ForgetProgress ForgetReport
    Alert AlertRule CacheMetrics CachePriority CacheService Invalidated Key Mapping Scope
    SyncProgress SyncReport WarmProgress WarmReport
    AGENT_SERVICE_TTL_MAPPING BadInput CACHE_TYPE_AGENT CACHE_TYPE_AGENT_CONFIG
    CACHE_TYPE_AGENT_EXECUTION_STATE CACHE_TYPE_AGENT_RESPONSE CACHE_TYPE_AGENT_TOOLS
    CACHE_TYPE_COLLECTION_METADATA CACHE_TYPE_CONVERSATION CACHE_TYPE_CONVERSATION_MEMORY
    CACHE_TYPE_CONVERSATION_MESSAGE CACHE_TYPE_CONVERSATION_MESSAGES_LIST CACHE_TYPE_DOCUMENT
    CACHE_TYPE_EMBEDDING CACHE_TYPE_QUERY_RESULT CACHE_TYPE_RETRIEVAL_CACHE
    CACHE_TYPE_SEMANTIC_INDEX CACHE_TYPE_VECTOR_STORE CacheClosed CacheManager CorruptEntry
    DEFAULT_TTL_MAPPING Embeddings InvalidKey InvalidPolicy InvalidSettings InvalidTTL
    InvalidationPending
    LoadCycle LoadError LoadTimeout METRIC_CACHE_HIT METRIC_CACHE_INVALIDATION
    METRIC_CACHE_INVALIDATION_COORDINATED METRIC_CACHE_MISS METRIC_CACHE_SIZE METRIC_LATENCY
    MissingContext MissingExtra MissingTenant Misuse SerializationError SourceBusy TTL_DYNAMIC
    TTL_EXTENDED TTL_PERMANENT TTL_PERSONAL TTL_SHORT TTL_STANDARD TTL_STATIC TenantList
    SyncCache SyncList SyncTenant
    TierUnavailable Unanswered WrongLoop configure current_context deserialize_from_cache
    generate_resource_id_hash get_ttl_for_data_type get_embeddings_batch_with_cache
    get_with_cache_aside reset serialize_for_cache track_agent_cache_metrics
    track_cache_metrics with_context
    Cascade Dependent METRIC_CACHE_INVALIDATION_FAILED invalidate_agent_cache_cascade
    invalidate_conversation_cache invalidate_conversation_cache_cascade
    invalidate_document_update register_conversation_resolver
    Bill Cost Price
    advanced_cache_manager delete_cached_value get_cache_analytics get_cached_value
    personalized_cache set_cached_value standard_cache swr_cache tagged_cache
"""
MODERN, DOCUMENTED = _MODERN.split(), _DOCUMENTED.split()


# msgspec looks for it, and does without it.
BY_MSGSPEC = {"typing_extensions"}


def test_the_modern_face_has_at_most_twelve_names() -> None:
    assert cascada.__all__ == MODERN
    assert len(MODERN) <= 12


def test_every_public_name_resolves_and_is_listed() -> None:
    assert cascada._HOME.keys() == {*MODERN, *DOCUMENTED}
    for name in (*MODERN, *DOCUMENTED):
        assert getattr(cascada, name) is not None, name


def test_nothing_else_is_public() -> None:
    assert dir(cascada) == sorted(MODERN)
    program = "import cascada; print(*[n for n in vars(cascada) if not n.startswith('_')])"
    assert set(run(program).split()) == {"TYPE_CHECKING", "import_module"}


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'cascada' has no attribute 'CacheManger'"):
        cascada.CacheManger  # type: ignore[attr-defined]  # noqa: B018


def test_checkers_see_the_names_that_programs_get() -> None:
    tree = ast.parse((ROOT / "src/cascada/__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and not node.orelse][:1]
    seen: dict[str, str] = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        for alias in statement.names:
            if alias.name == "*":
                module = importlib.import_module(statement.module)
                seen |= dict.fromkeys(own_names(module), statement.module)
            else:
                assert alias.asname == alias.name, "only then is it exported to checkers"
                seen[alias.name] = statement.module
    assert seen == {name: f"cascada.{home}" for name, home in cascada._HOME.items()}


def own_names(module: object) -> list[str]:
    """What a star import gives to whoever imports it from there."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (name.isupper() or getattr(value, "__module__", None) == module.__name__)  # type: ignore[attr-defined]
    ]


def test_the_errors_and_constants_are_all_public() -> None:
    for home in ("cascada.model.errors", "cascada.api.documents.constants"):
        assert {*own_names(importlib.import_module(home))} <= {*MODERN, *DOCUMENTED}


def test_importing_cascada_loads_nothing_but_itself() -> None:
    assert loaded_by("import cascada") == {"cascada"}


def test_importing_the_cache_loads_msgspec_alone() -> None:
    loaded = loaded_by("from cascada import Cache")
    assert {module.split(".")[0] for module in loaded} - BY_MSGSPEC == {"cascada", "msgspec"}
    assert "cascada.api.settings" not in loaded


def test_no_public_name_loads_another_third_party() -> None:
    loaded = loaded_by(f"from cascada import {', '.join([*MODERN, *DOCUMENTED])}")
    assert {module.split(".")[0] for module in loaded} - BY_MSGSPEC == {"cascada", "msgspec"}


def test_importing_starts_no_thread_and_no_object_beside_constants() -> None:
    program = """
import threading, gc
from cascada import *
from cascada import CacheManager, get_with_cache_aside, configure
import cascada.api.cache, cascada.api.default
print(threading.active_count(), *[o for o in gc.get_objects() if isinstance(o, Cache)],
      cascada.api.default._configured, cascada.api.default._from_env, CacheManager._instance)
"""
    assert run(program).split() == ["1", "None", "None", "None"]


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cascada.__version__ == project["version"]


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded beside the standard library."""
    program = f"import sys; {statement}; print(*sys.modules)"
    known = {*sys.stdlib_module_names, "__main__", "__mp_main__"}
    started_with = {name.split(".")[0] for name in run("import sys; print(*sys.modules)").split()}
    return {name for name in run(program).split() if name.split(".")[0] not in known | started_with}


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
