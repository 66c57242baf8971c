"""docs/configuration.md, made from the schema: `python -m deora.config.document > docs/configuration.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from deora.config.fields import REQUIRED
from deora.config.named import NAMED
from deora.config.reading import allowed
from deora.config.schema import FILES, UPSTREAM_TYPES, Config
from deora.config.sections import Section
from deora.config.template import as_written

_INTRODUCTION: Final = """\
# Configuration

<!-- Made from the schema. Change deora/config, then: python -m deora.config.document > docs/configuration.md -->

DEORA reads JSON files from its configuration directory: `--config DIR`, else `./config`, else nothing. Every file and
every key is optional; what is left out has its default. `deora init` writes the files with their defaults.

- **A size** is a number of bytes or a text with a unit: `"10MiB"`, `"1GiB"`, `"500KiB"`, `"1MB"`. KiB, MiB, GiB and TiB
  count in 1024s, kB, MB, GB and TB in 1000s.
- **A duration** is a number in the unit that ends its name: `_s` seconds, `_minutes`, `_hours`.
- **A relative file or directory** is looked for under the data directory.

An unknown key or a wrong value is an error, and nothing starts. All faults are reported at once; each names the file,
the key, what was found and what is allowed. Of a secret nothing is shown, in faults as in every other output.
"""

_SOURCES: Final = """\
## Where a value comes from

The strongest source wins. From weak to strong:

1. the default,
2. the JSON file,
3. the file `.env` in the working directory,
4. the environment.

Objects are merged key by key; a list is replaced as a whole. Within `.env` and within the environment a `DEORA_`
variable is stronger than a named one.

### Any key

`DEORA_<FILE>__<KEY>`, with two underscores between names, sets a key of `<file>.json`:

```
DEORA_SERVERS__PORT=8080
DEORA_DATABASE__PRIMARY__TYPE=firestore
DEORA_DATABASE__PRIMARY__PROJECT=my-venue
DEORA_CACHE__MEMORY__MAX_SIZE=64MiB
DEORA_DATABASE__REPLICATE=["menu", "tables"]
DEORA_QUEUE__PRIORITIES__payments=9
```

Numbers, lists and objects are written as JSON, texts as they are, `null` (or nothing) for null. The names of keys may
be in any case; a name of your own, like the collection `payments` above, keeps its case. An unknown name with two
underscores is an error; one without, like `DEORA_DATA`, is no key and is left alone.

Setting `database.primary.type` (or that of the secondary) to another type drops the keys that only the former type has.

### .env

One `NAME=value` a line, also after `export`; `#` begins a comment. A value in single quotes is taken as it is; in
double quotes `\\n`, `\\"` and `\\\\` are escapes; without quotes it ends before ` #`. Nothing is expanded. Names that
are not DEORA's are left alone.

### Named variables

An empty one counts as not set.

| variable | sets | meaning |
|---|---|---|
"""

_LOOPBACK: Final = """\
## What must hold between keys

- `servers.host` other than loopback (`127.0.0.0/8`, `::1`, `localhost`) needs a token in `security.tokens`. Without
  one, anyone on the network could read and write everything. `deora start --host` is held to the same rule. With
  `security.require_https` it also needs `security.tls` or a trusted proxy.
- `servers.primary.id` and `servers.secondary.id` differ.
- `loadbalancer.health_check.hang_timeout_s` is below `servers.request_timeout_s`.
- `cache.memory.max_size` is below `servers.max_memory`.
- A pool's `min` is not above its `max`.
- The two upstreams are not the same place, and neither is the store's own `store.db`.
- `security.tls.cert` and `security.tls.key` are both set, or neither is.
- Tokens differ in name and in hash.
"""


_HEAD: Final = "| key | meaning | default | allowed |\n|---|---|---|---|\n"
_SECRETS: Final = {"": "", "password": " Its password is secret.", "value": " Secret."}


def document() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _SOURCES + "\n".join(_named_rows()) + "\n"]
    parts += [_file_part(name) for name in FILES]
    parts.append(_LOOPBACK)
    return "\n".join(parts)


def _named_rows() -> Iterator[str]:
    for name, variable in NAMED.items():
        key = ".".join(str(step) for step in variable.path)
        where = f"`{key}` of each {variable.upstream_type} upstream" if variable.upstream_type else f"`{key}`"
        yield f"| `{name}` | {where} | {variable.meaning} |"


def _file_part(name: str) -> str:
    spec = Config.specs[name]
    part = f"## {name}.json\n\n{spec.meaning}\n\n" + _table(type(spec.default), spec.default)
    if name == "database":
        for type_name, section in UPSTREAM_TYPES.items():
            part += f'\n### An upstream of type "{type_name}"\n\n' + _table(section, None)
    return part


def _table(section: type[Section], values: Section | None) -> str:
    """The section's keys as a table, and a table for each list or mapping of objects in it."""
    table = _HEAD + "\n".join(_rows(section, values, "")) + "\n"
    for name, spec in section.specs.items():
        if spec.item is not None and spec.item.section is not None:
            table += f"\nEach of `{name}`:\n\n" + _table(spec.item.section, None)
    return table


def _rows(section: type[Section], values: Section | None, prefix: str) -> Iterator[str]:
    for name, spec in section.specs.items():
        value = getattr(values, name) if values is not None else spec.default
        if spec.section is not None:
            yield from _rows(spec.section, value, f"{prefix}{name}.")
            continue
        default = "required" if value is REQUIRED else f"`{json.dumps(as_written(spec, value))}`"
        words = "an upstream, see below" + (", or null" if spec.nullable else "")
        words = words if spec.kind == "variant" else allowed(spec)
        yield f"| `{prefix}{name}` | {spec.meaning}{_SECRETS[spec.secret]} | {default} | {words} |"


if __name__ == "__main__":
    print(document(), end="")
