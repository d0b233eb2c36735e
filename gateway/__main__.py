"""`python -m gateway` is `linli`."""

import sys

from gateway.cli import main

sys.exit(main())
