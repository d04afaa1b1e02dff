wrk.method = "POST"
wrk.body = string.rep("fastproxy bench ", 65536)
wrk.headers["Content-Type"] = "application/octet-stream"
