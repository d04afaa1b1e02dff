-- Posts a body of as many bytes as the argument says.
function init(arguments)
   local piece = "fastproxy bench "
   local length = tonumber(arguments[1])
   wrk.method = "POST"
   wrk.body = string.rep(piece, math.ceil(length / #piece)):sub(1, length)
   wrk.headers["Content-Type"] = "application/octet-stream"
end
