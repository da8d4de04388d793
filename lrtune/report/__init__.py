"""What people see: the HTML page, its plots and the terminal views."""
