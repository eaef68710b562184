"""Write the gradient norm of every conv group to a file while a network trains, as ``npresnext gradnorms`` does.

python scripts/dump_group_grad_norms.py -o norms.csv --plot norms.png
"""

import sys

from npresnext.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("gradnorms", prog="dump_group_grad_norms.py"))
