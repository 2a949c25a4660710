"""`python -m resnet_convert` is the command line."""

import sys

from resnet_convert.cli.main import main

sys.exit(main())
