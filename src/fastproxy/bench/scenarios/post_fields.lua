-- The request of post.lua with as many header fields in all as the argument says, each of usual length.
local own = 5 -- Host, Content-Length and those below
function init(arguments)
   wrk.method = "POST"
   wrk.body = "param=hello"
   wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
   wrk.headers["C_ServiceName"] = "chat_service"
   wrk.headers["Accept"] = "*/*"
   for number = own + 1, tonumber(arguments[1]) do
      wrk.headers[string.format("X-Field-%03d", number)] = "a value of usual length"
   end
end
