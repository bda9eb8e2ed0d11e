"""`python -m ttsd`."""

from ttsd.search_path import leave_working_directory_out

leave_working_directory_out()

from ttsd.cli import main  # noqa: E402

main()
