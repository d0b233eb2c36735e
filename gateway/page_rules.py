"""What must fit in the table `page`: where it listens, and that no PIN travels in clear."""

from collections.abc import Iterator

from gateway.site_page import Page, beyond, is_every_address, is_no_address
from gateway.site_reader import Mistake, quoted
from gateway.site_rules import items, read
from gateway.site_tables import SiteFile


def page_rules(file: SiteFile) -> Iterator[Mistake]:
    page = file.page
    if page is None or not read(file, "page") or not read(page, "listen", "cert", "key", "roles"):
        return
    for index, where in items(page.listen):
        if is_every_address(where) or is_no_address(where):
            expected = "an address or interface of this machine, each by its name"
            yield Mistake(("page", "listen", index), quoted(where), expected, 'write for example listen = ["eth0"]')
    if (page.key is None) != (page.cert is None):
        has, lacks = ("key", "cert") if page.cert is None else ("cert", "key")
        yield Mistake(("page", has), f"{has} without {lacks}", "both or neither", f'add {lacks} = "file:PATH"')
    yield from _roles(page)


def _roles(page: Page) -> Iterator[Mistake]:
    if not read(page.roles, "display", "staff"):
        return
    if page.roles.display == page.roles.staff == "off":
        expected, do = "somebody who sees it", "take one of them away, or the whole table"
        yield Mistake(("page", "roles"), "display and staff off", expected, do)
    if page.roles.staff == "pin" and page.cert is None:
        for where in (where for where in beyond(page) if not is_every_address(where)):
            do = 'add cert and key, or write staff = "box": acting only at the box itself'
            found = f"a PIN that travels over {where} in clear"
            yield Mistake(("page", "roles", "staff"), found, "TLS beyond this machine", do)
