"""What `threatcloud doctor` looks at. Reads only; works beside a running server and without one."""
