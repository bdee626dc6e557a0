"""What docs/ has that MkDocs does not know: folders in the navigation, and links
to other files of the repository, which lead to the repository on the site."""

import pathlib
import re

from mkdocs.exceptions import PluginError

REPOSITORY = "https://github.com/sluice-autoscaler/sluice"
LINK = re.compile(r"(\]\()([^()\s#]+)((?:#[^()\s]*)?\))")
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)


def on_config(config):
    config.nav = [_expanded(entry, pathlib.Path(config.docs_dir)) for entry in config.nav]
    return config


def _expanded(entry, docs):
    """Puts the pages of a folder in the place of `title: folder/`."""
    if not isinstance(entry, dict): # a page by its heading
        return {_heading(docs / entry): entry}
    (title, value), = entry.items()
    if isinstance(value, list):
        return {title: [_expanded(e, docs) for e in value]}
    if not value.endswith("/"):
        return entry
    pages = sorted((docs / value).glob("*.md"), key=lambda page: (page.name != "README.md", page.stem))
    return {title: [{_heading(page): str(page.relative_to(docs))} for page in pages]}


def _heading(page):
    """The first heading, also below a comment."""
    return re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1]


def on_page_markdown(markdown, page, config, files):
    docs = pathlib.Path(config.docs_dir).resolve()
    here = (docs / page.file.src_uri).parent

    def link(match):
        target = match[2]
        if "://" in target or target.startswith(("mailto:", "/")):
            return match[0]
        path = (here / target).resolve()
        if path.is_relative_to(docs):
            if (path / "README.md").is_file():
                return f"{match[1]}{target.rstrip('/')}/README.md{match[3]}"
            return match[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: {target} is not in the repository")
        kind = "tree" if path.is_dir() else "blob"
        return f"{match[1]}{REPOSITORY}/{kind}/main/{path.relative_to(docs.parent)}{match[3]}"

    # Code is shown as it is.
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end:fence.start()]), fence[0]]
        end = fence.end()
    return "".join(parts) + LINK.sub(link, markdown[end:])
