"""What people see of runs: live views, tables, reports, exports."""
