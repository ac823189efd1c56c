// Questions to the page's own server.

export class ApiError extends Error {}

/** The answer of a route; ApiError with its sentence where there is none. */
export async function ask(route, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== "" && value !== null) query.set(name, value);
  const text = query.toString();
  let answer;
  try {
    answer = await fetch(`/api/v1/${route}${text ? `?${text}` : ""}`, { signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("");
  }
  if (answer.ok) return answer.json();
  const type = answer.headers.get("content-type") ?? "";
  throw new ApiError(type.includes("json") ? (await answer.json()).error : await answer.text());
}
