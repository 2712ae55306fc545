/** When to draw: never more often than frames come, nothing in a hidden tab, nothing twice. */

/** Milliseconds between two drawings of one panel: numbers that change faster cannot be read. */
const PAUSE = 200;

export class Frames {
  constructor() {
    this.waiting = new Map();
    this.drawn = new Map();
    this.asked = false;
    this.held = false;
    document.addEventListener('visibilitychange', () => this.#ask());
  }

  /** Draws once with the newest state, soon. A second call before that changes nothing. */
  draw(key, work, urgent = false) {
    this.waiting.set(key, { work, urgent: urgent || this.waiting.get(key)?.urgent === true });
    this.#ask();
  }

  /** Keeps the display as it is, or lets it go on. What is urgent is drawn all the same. */
  hold(held) {
    this.held = held;
    this.#ask();
  }

  #ask() {
    if (this.asked || document.hidden || this.waiting.size === 0) return;
    this.asked = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  #frame(now) {
    this.asked = false;
    let later = false;
    for (const [key, { work, urgent }] of [...this.waiting]) {
      if (!urgent && this.held) continue;
      if (!urgent && now - (this.drawn.get(key) ?? -Infinity) < PAUSE) {
        later = true;
        continue;
      }
      this.waiting.delete(key);
      this.drawn.set(key, now);
      try {
        work();
      } catch (error) {
        // One panel's trouble must not stop the others.
        console.error(error);
      }
    }
    if (later) setTimeout(() => this.#ask(), PAUSE / 4);
  }
}

/** Tells which elements are near the window, so that the others need no drawing. */
export class Sight {
  constructor() {
    this.near = new WeakSet();
    this.calls = new WeakMap();
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) this.near.delete(target);
        else {
          this.near.add(target);
          this.calls.get(target)?.();
        }
      }
    }, { rootMargin: '200px' });
  }

  /** Calls back whenever the element comes near. */
  watch(element, call) {
    this.calls.set(element, call);
    this.observer.observe(element);
  }

  forget(element) {
    this.observer.unobserve(element);
    this.near.delete(element);
  }

  has(element) {
    return this.near.has(element);
  }
}

export const sight = new Sight();
