-- For wrk: sends a body when asked to (arguments: `post FILE`), and prints one line of JSON at the end.
-- It defines no request() or response(): with either, wrk would call Lua for every request.

function init(args)
   if args[1] == "post" then
      local file = assert(io.open(args[2], "rb"))
      wrk.method = "POST"
      wrk.body = file:read("*a")
      file:close()
   end
end

local function number(value)
   -- NaN (no request at all) is not JSON.
   if value ~= value then return "null" end
   return string.format("%.3f", value)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'BENCH {"seconds": %s, "requests": %d, "bytes": %s, "p50_ms": %s, "p99_ms": %s, ' ..
      '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
      number(summary.duration / 1e6), summary.requests, string.format("%.0f", summary.bytes),
      number(latency:percentile(50) / 1e3), number(latency:percentile(99) / 1e3),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
